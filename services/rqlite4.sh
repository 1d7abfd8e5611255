# Starts an rqlite of old, which knows its peers by their IP addresses. A task
# comes back with another: then this server is to its cluster a new one, and has
# to begin empty, once a leader has taken the old one out. Where there is none it
# starts as it was, or data would go that nobody else has; what it had is kept
# beside.
set -eu
data=/rqlite/file/data
own=$(getent hosts "$HOSTNAME" | { read -r address _ && echo "$address"; })

# remove asks the server at $1 to take $2 out; all but the leader refuse.
remove() {
	body="{\"addr\":\"$2:4002\"}"
	if command -v curl >/dev/null; then
		curl -s -m 3 -i -X DELETE -d "$body" "http://$1:4001/remove"
	else
		# shellcheck disable=SC2016 # it is for the other shell to expand
		timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/4001" && printf "DELETE /remove HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" "${#1}" "$1" >&3 && cat <&3' "$1" "$body"
	fi 2>/dev/null
}

# removed says whether the cluster has $1 no more.
removed() {
	for address in $(getent ahostsv4 "$SKEP_PEERS" | while read -r a _; do echo "$a"; done | sort -u); do
		[ "$address" != "$own" ] || continue
		if remove "$address" "$1" | grep -q -e '^HTTP/1.[01] 200' -e 'peer is unknown'; then return; fi
	done
	return 1
}

before=$(cat /rqlite/file/address 2>/dev/null || true)
if [ -d "$data" ] && [ -n "$before" ] && [ "$before" != "$own" ]; then
	tries=0
	while [ "$tries" -lt 40 ]; do
		if removed "$before"; then
			echo "skep: the address was $before and is $own, joining anew" >&2
			rm -rf "$data.before"
			mv "$data" "$data.before"
			break
		fi
		tries=$((tries + 1))
		sleep 0.5
	done
fi
echo "$own" >/rqlite/file/address

exec rqlited \
	-http-addr 0.0.0.0:4001 -http-adv-addr "$HOSTNAME:4001" \
	-raft-addr 0.0.0.0:4002 -raft-adv-addr "$own:4002" \
	"$@" \
	"$data"
