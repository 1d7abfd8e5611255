# Tells what a host is, one KEY=VALUE a line. Changes nothing.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin
say() { printf '%s=%s\n' "$1" "$2"; }

say system "$(uname -s)"
say machine "$(cat /etc/machine-id 2>/dev/null)"
say node "$(cat /etc/skep/node 2>/dev/null)"
# shellcheck source=/dev/null
distribution=$(. /etc/os-release 2>/dev/null && echo "$ID")
say distribution "$distribution"
for tool in apt-get apk pacman zypper; do
	if command -v $tool >/dev/null; then
		say packages $tool
		break
	fi
done
# Elsewhere the package called docker is another program.
case $distribution in
fedora | amzn) say packages dnf ;;
esac
if command -v ip >/dev/null; then
	ip -o addr show | while read -r _ device _ address _; do
		say address "$device $address"
	done
else
	for address in $(hostname -I); do
		say address "host $address"
	done
fi
if command -v docker >/dev/null; then
	say docker yes
	if version=$(docker version -f '{{.Server.Version}}' 2>&1); then
		say engine "$version"
		say swarm "$(docker info -f '{{.Swarm.LocalNodeState}}' 2>/dev/null)"
		# 7946, listening.
		if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ':1F0A [0:]* 0A '; then
			say gossips yes
		fi
	else
		say words "$(printf %s "$version" | tr '\n' ' ')"
	fi
fi
