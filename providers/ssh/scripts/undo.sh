# Takes off a host what made it the node $node of the environment $env. One that
# is somebody else's by now is left alone.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin
env=${env:?} node=${node:?}
[ "$(cat /etc/skep/node 2>/dev/null)" = "$env $node" ] || exit 0

quietly() {
	words=$("$@" 2>&1 </dev/null) || {
		printf '%s\n' "$words" >&2
		exit 1
	}
}

state=$(docker info -f '{{.Swarm.LocalNodeState}}' 2>&1) || {
	printf 'its Docker does not answer: %s\n' "$state" >&2
	exit 1
}
# An engine gives its tasks 20 seconds to end, which is little for a slow host.
# Asked again it takes up where it was.
for _ in 1 2 3; do
	[ "$state" != inactive ] || break
	words=$(docker swarm leave --force 2>&1 </dev/null)
	state=$(docker info -f '{{.Swarm.LocalNodeState}}' 2>&1)
done
[ "$state" = inactive ] || {
	printf '%s\n' "$words" >&2
	exit 1
}
for id in $(docker ps -aq --filter label=skep.stack); do
	quietly docker rm -f -v "$id"
done
for name in $(docker volume ls -q --filter label=skep.stack); do
	quietly docker volume rm -f "$name"
done
for id in $(docker network ls -q --filter label=skep.stack); do
	quietly docker network rm "$id"
done
if [ ! -f /etc/skep/gwbridge ] && docker network inspect docker_gwbridge >/dev/null 2>&1; then
	# Engines leave a swarm with an endpoint of its own on it.
	docker network disconnect -f docker_gwbridge gateway_ingress-sbox >/dev/null 2>&1
	docker network rm docker_gwbridge >/dev/null 2>&1
fi
for file in /etc/sysctl.d/90-skep-*.conf; do
	rm -f "$file"
done

name=$(cat /etc/skep/hostname 2>/dev/null)
if [ -n "$name" ] && [ "$(uname -n)" = "$node" ]; then
	if [ -d /run/systemd/system ] && command -v hostnamectl >/dev/null; then
		quietly hostnamectl set-hostname "$name"
	else
		quietly hostname "$name"
		printf '%s\n' "$name" >/etc/hostname
	fi
fi
if [ -f /etc/hosts ]; then # in place: it may be a mount
	grep -v ' # skep$' /etc/hosts >/etc/skep/hosts
	cat /etc/skep/hosts >/etc/hosts
fi
# The marker goes last: until then the work can be taken up again.
find /etc/skep -mindepth 1 ! -name node -delete
rm -rf /etc/skep
