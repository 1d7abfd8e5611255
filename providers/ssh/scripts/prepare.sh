# Makes a host the node $node of the environment $env: what was there before is
# written down first, in /etc/skep.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin
set -e
: "${env:?}" "${node:?}"
umask 022
mkdir -p /etc/skep
if [ ! -f /etc/skep/hostname ]; then
	uname -n >/etc/skep/hostname.new
	mv /etc/skep/hostname.new /etc/skep/hostname
	docker network inspect docker_gwbridge >/dev/null 2>&1 && touch /etc/skep/gwbridge
fi
printf '%s %s\n' "$env" "$node" >/etc/skep/node.new
mv /etc/skep/node.new /etc/skep/node

# A swarm knows its nodes by their hostnames. sudo stalls where a host does not
# know its own, so that comes first.
grep -q "[[:space:]]$node\([[:space:]]\|\$\)" /etc/hosts 2>/dev/null ||
	printf '127.0.1.1\t%s # skep\n' "$node" >>/etc/hosts
[ "$(uname -n)" = "$node" ] || if [ -d /run/systemd/system ] && command -v hostnamectl >/dev/null; then
	hostnamectl set-hostname "$node"
else
	hostname "$node"
	printf '%s\n' "$node" >/etc/hostname
fi
