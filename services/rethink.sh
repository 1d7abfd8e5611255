# Starts RethinkDB as a server of the cluster behind the names in SKEP_PEERS,
# and starts it anew where it has lost the others.
#
# The server joins addresses once, at its start, and never asks DNS again; a
# name that resolves to itself among others it would drop whole; where no
# address answers it hangs. So names are resolved here, at every start, the
# task's own addresses are dropped, and only peers that answer are joined.
set -eu
: "${SKEP_SERVER:?}" "${SKEP_PEERS:?}" "${SKEP_SERVERS:?}"
data=/data/rethinkdb_data
password=/run/secrets/rethink-password
cert=/run/secrets/rethink-cert
key=/run/secrets/rethink-key
ca=/etc/skep/rethink-ca
tick=3 # seconds between two looks at the others
grace=15 # seconds that a server may take to end
apart=4 # looks in a row that have to find the server apart

# all prints the addresses of all tasks that resolve, this one's among them.
all() {
	for name in $SKEP_PEERS; do
		getent ahostsv4 "$name" || true
	done | while read -r address _; do echo "$address"; done | sort -u
}

# own says whether an address is this task's.
own() {
	[ -n "$1" ] || return 1
	case " $(hostname -I) " in *" $1 "*) ;; *) return 1 ;; esac
}

# peers prints the addresses of all other tasks.
peers() {
	for address in $(all); do
		own "$address" || echo "$address"
	done
}

# first says whether this task is the one to go first when nobody answers: of
# all those that resolve, only one is.
first() {
	own "$(all | head -n 1)"
}

answers() {
	timeout 1 bash -c "</dev/tcp/$1/29015" 2>/dev/null
}

# answering asks all at once: DNS goes on naming the dead for a while.
answering() {
	for address in $(peers); do
		{ if answers "$address"; then echo "$address"; fi; } &
	done | sort
}

# How long to look for a peer before starting alone, in seconds. A joiner with
# an empty directory never does: it would create a database of its own. An empty
# seed begins the cluster, unless there are others already. Of servers with data
# that all start at once, the seed goes first and the others find it; what comes
# apart nevertheless is seen by watch.
patience() {
	if [ "${SKEP_SEED:-}" = true ]; then
		if [ -d "$data" ]; then echo 1; elif [ -n "$(peers)" ]; then echo 30; else echo 0; fi
	elif [ -d "$data" ]; then
		echo 15
	else
		echo 1000000
	fi
}

# cache is the server's share, in MB, of a third of the node's memory.
cache() {
	local total=0 name value
	while read -r name value _; do
		if [ "$name" = MemTotal: ]; then total=$((value / 1024)); fi
	done </proc/meminfo
	local share=$((total / 3 / SKEP_SERVERS))
	if [ "$share" -lt 64 ]; then share=64; fi
	echo "$share"
}

# connected says whether the server holds a connection with the one at an
# address, whichever of the two began it: 7157 is 29015.
connected() {
	local part ip here there state
	IFS=. read -r -a part <<<"$1"
	ip=$(printf %02X%02X%02X%02X "${part[3]}" "${part[2]}" "${part[1]}" "${part[0]}")
	while read -r _ here there state _; do
		case "$state $here $there" in
		01*:7157*"$ip":* | 01*"$ip":7157) return 0 ;;
		esac
	done < <(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
	return 1
}

# lost says whether the server belongs to the smaller part of the servers that
# answer, or, of two equal parts, to the one without the first address. Only
# that part starts anew: the greater one goes on serving.
lost() {
	local address with=1 of=1 lead
	lead=$(all | head -n 1)
	local has_lead=false
	if own "$lead"; then has_lead=true; fi
	for address in $(peers); do
		if connected "$address"; then
			with=$((with + 1)) of=$((of + 1))
			if [ "$address" = "$lead" ]; then has_lead=true; fi
		elif answers "$address"; then
			of=$((of + 1))
		fi
	done
	[ "$((2 * with))" -lt "$of" ] || { [ "$((2 * with))" -eq "$of" ] && [ $has_lead = false ]; }
}

# watch ends the server that has been apart from others for some time: it joins
# them when it is started again.
watch() {
	local times=0 never
	exec {never}<> <(:)
	while ! read -r -t "$tick" -u "$never" _; do
		if lost; then times=$((times + 1)); else times=0; fi
		if [ "$times" -ge "$apart" ]; then
			echo "skep: the others answer and are not connected: starting anew" >&2
			kill -TERM "$1"
			read -r -t "$grace" -u "$never" _ || kill -KILL "$1" 2>/dev/null || true
			return
		fi
	done
}

trap 'exit 143' TERM INT # while there is no server to end

limit=$(patience)
join=$(answering)
while [ -z "$join" ]; do
	if [ "$SECONDS" -ge "$limit" ]; then
		if [ "${SKEP_SEED:-}" = true ] || first; then break; fi
	fi
	sleep 0.5
	join=$(answering)
done

set -- --bind all --directory "$data" --no-update-check --cache-size "${SKEP_CACHE_MB:-$(cache)}" \
	--server-name "$(printf %s "$SKEP_SERVER" | sed 's/[^A-Za-z0-9_]/_/g')"
if [ -f "$cert" ]; then
	set -- "$@" --http-tls-cert "$cert" --http-tls-key "$key" --driver-tls-cert "$cert" --driver-tls-key "$key" \
		--cluster-tls-cert "$cert" --cluster-tls-key "$key" --cluster-tls-ca "$ca"
fi
if [ -f "$password" ]; then
	# In a file, for everybody on the node could read an argument. Joiners are
	# given the same: of several initial passwords the one with the oldest clock
	# wins. A server that has a password ignores it.
	(umask 077 && printf 'initial-password=%s\n' "$(cat "$password")" >/tmp/skep.conf)
	set -- "$@" --config-file /tmp/skep.conf
fi
for address in $join; do
	set -- "$@" --join "$address:29015"
done
[ -n "$join" ] || echo "skep: no peer answers, starting alone" >&2

rethinkdb "$@" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true' TERM INT
watch "$server" &
watcher=$!
while :; do
	code=0
	wait "$server" || code=$?
	# A signal ends the waiting before the server.
	if ! kill -0 "$server" 2>/dev/null; then
		kill "$watcher" 2>/dev/null || true
		exit "$code"
	fi
done
