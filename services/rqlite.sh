# Starts rqlite; the arguments say how it finds its peers. The host name is the
# node's or the service's, which the others on the network resolve.
set -eu

# SRV records are asked of the servers behind this name; what those do not know
# the engine's own resolver does. The address of a server changes with its task,
# so they are looked up again and again, for as long as rqlite runs.
look_up() {
	servers=$(getent hosts "$SKEP_DNS" | while read -r address _; do echo "nameserver $address"; done | head -n 2)
	[ -n "$servers" ] || return 1
	printf '%s\nnameserver 127.0.0.11\noptions timeout:1 attempts:2 ndots:0\n' "$servers" >/etc/resolv.conf
}
if [ -n "${SKEP_DNS:-}" ]; then
	until look_up; do sleep 0.5; done
	while sleep 10 && kill -0 $$; do look_up || true; done >/dev/null 2>&1 &
fi

exec rqlited \
	-node-id "$HOSTNAME" \
	-http-addr 0.0.0.0:4001 -http-adv-addr "$HOSTNAME:4001" \
	-raft-addr 0.0.0.0:4002 -raft-adv-addr "$HOSTNAME:4002" \
	"$@" \
	/rqlite/file/data
