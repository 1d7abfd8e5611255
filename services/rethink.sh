# Starts RethinkDB as a server of the cluster behind the names in SKEP_PEERS.
#
# The server joins addresses once, at its start, and never asks DNS again; a
# name that resolves to itself among others it would drop whole; where no
# address answers it hangs. So names are resolved here, at every start, the
# task's own addresses are dropped, and only peers that answer are joined.
set -eu
data=/data/rethinkdb_data

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

answering() {
	for address in $(peers); do
		if timeout 1 bash -c "</dev/tcp/$address/29015" 2>/dev/null; then
			echo "$address"
		fi
	done
}

# How long to look for a peer before starting alone, in seconds. A joiner with
# an empty directory never does: it would create a database of its own. An empty
# seed begins the cluster, unless there are others already. Of servers with data
# that all start at once, the seed goes first and the others find it.
patience() {
	if [ "${SKEP_SEED:-}" = true ]; then
		if [ -d "$data" ]; then echo 10; elif [ -n "$(peers)" ]; then echo 30; else echo 0; fi
	elif [ -d "$data" ]; then
		echo 40
	else
		echo 1000000
	fi
}

limit=$(patience)
join=$(answering)
while [ -z "$join" ]; do
	if [ "$SECONDS" -ge "$limit" ]; then
		if [ "${SKEP_SEED:-}" = true ] || first; then break; fi
	fi
	sleep 0.5
	join=$(answering)
done
[ -n "$join" ] || echo "skep: no peer answers, starting alone" >&2

set -- --bind all --directory "$data" --no-update-check \
	--server-name "$(printf %s "$SKEP_SERVER" | sed 's/[^A-Za-z0-9_]/_/g')"
for address in $join; do
	set -- "$@" --join "$address:29015"
done
exec rethinkdb "$@"
