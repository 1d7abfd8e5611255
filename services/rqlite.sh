# Starts rqlite; the arguments say how it finds its peers. The host name is the
# node's or the service's, which the others on the network resolve.
set -eu

# SRV records are asked of the servers behind this name; what those do not know
# the engine's own resolver does. A task has to look them up anew: the address
# of a server changes with its task.
if [ -n "${SKEP_DNS:-}" ]; then
	servers=
	while [ -z "$servers" ]; do
		servers=$(getent hosts "$SKEP_DNS" | while read -r address _; do echo "nameserver $address"; done | head -n 2)
		[ -n "$servers" ] || sleep 0.5
	done
	printf '%s\nnameserver 127.0.0.11\noptions timeout:1 attempts:2 ndots:0\n' "$servers" >/etc/resolv.conf
fi

exec rqlited \
	-node-id "$HOSTNAME" \
	-http-addr 0.0.0.0:4001 -http-adv-addr "$HOSTNAME:4001" \
	-raft-addr 0.0.0.0:4002 -raft-adv-addr "$HOSTNAME:4002" \
	"$@" \
	/rqlite/file/data
