#!/bin/sh
# The first process of a skep node: an SSH server beside a Docker engine.
# Contract of any node image: key login only (/root/.ssh/authorized_keys, put
# there before the first start), host key made at the first start and readable
# at /etc/ssh/ssh_host_ed25519_key.pub, dockerd on /var/run/docker.sock,
# /var/lib/docker on a volume, nothing of an earlier life in /run.
set -eu

fail() {
	echo "skep-node: $*" >&2
	exit 1
}

# What a swarm cannot do without. Tried, not looked up: a module may be built in.
ip link add skep-probe type vxlan id 1 dstport 4789 2>/dev/null || fail "the kernel has no VXLAN, which overlay networks need"
ip link del skep-probe
ip link add skep-probe type bridge 2>/dev/null || fail "the kernel has no bridge devices"
ip link del skep-probe
iptables -t nat -nL >/dev/null 2>&1 || fail "the kernel has no iptables nat table"

# A node that was killed leaves docker.pid and sockets behind.
rm -rf /run/* 2>/dev/null || true
mkdir -p /run/sshd

# The public half comes last: whoever sees it may trust that the key is whole.
if [ ! -f /etc/ssh/ssh_host_ed25519_key.pub ]; then
	rm -rf /etc/ssh/new
	mkdir -m 700 /etc/ssh/new
	ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/new/ssh_host_ed25519_key
	mv /etc/ssh/new/ssh_host_ed25519_key /etc/ssh/
	mv /etc/ssh/new/ssh_host_ed25519_key.pub /etc/ssh/
	rmdir /etc/ssh/new
fi

# Before anything answers here.
if [ -x /etc/skep/firewall ]; then
	/etc/skep/firewall || fail "its firewall is not to be put in force"
fi
/usr/sbin/sshd -f /etc/ssh/skep_sshd_config || fail "sshd does not start"

set -- dockerd -H unix:///var/run/docker.sock
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
	# cgroup v2: controllers can be delegated only from a group with no process.
	mkdir -p /sys/fs/cgroup/init
	while read -r pid; do
		echo "$pid" >/sys/fs/cgroup/init/cgroup.procs 2>/dev/null || true
	done </sys/fs/cgroup/cgroup.procs
	sed 's/ / +/g; s/^/+/' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
else
	# cgroup v1 is the host's: keep this node's containers below the node's own
	# group, so that they go with it.
	set -- "$@" --cgroup-parent "$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)/node"
fi
mount --make-rshared /

# A worker asks its managers into the gossip of overlay networks once, at its
# start, and then only after a minute. Where all nodes start at once it waits
# for a manager that listens, or its tasks could not find the others so long.
answers() {
	if command -v bash >/dev/null; then
		timeout 1 bash -c "</dev/tcp/$1/7946" 2>/dev/null
	else
		nc -z -w 1 "$1" 7946 2>/dev/null
	fi
}
uptime() {
	read -r seconds _ </proc/uptime
	echo "${seconds%.*}"
}
# The first process of a container ignores signals that it has no trap for.
trap 'exit 143' TERM
swarm=/var/lib/docker/swarm
if [ -s $swarm/state.json ] && [ ! -d $swarm/raft ]; then
	managers=$(tr -d ' \n' <$swarm/state.json | grep -o '"addr":"[^"]*' | sed 's/.*"//; s/:[0-9]*$//')
	end=$(($(uptime) + 20))
	while [ -n "$managers" ]; do
		for manager in $managers; do
			if answers "$manager" || [ "$(uptime)" -ge $end ]; then
				break 2
			fi
		done
		sleep 0.2
	done
fi
trap - TERM
exec docker-init -- "$@"
