#!/bin/bash
# Makes the node image from Debian's packages alone, for a machine without a
# registry: debian.sh IMAGE. Runs as root; takes about a minute, nothing when
# IMAGE was made by this same recipe already.
set -euo pipefail
image=${1:?usage: debian.sh IMAGE}
here=$(cd "$(dirname "$0")" && pwd)
recipe=$(cat "$here"/{debian.sh,entrypoint.sh,sshd_config} | sha256sum | cut -c1-64)
if [ "$(docker image inspect -f '{{index .Config.Labels "skep.recipe"}}' "$image" 2>/dev/null)" = "$recipe" ]; then
	echo "node image $image is up to date"
	exit 0
fi

command -v debootstrap >/dev/null || {
	echo "installing debootstrap"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
}
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root" "$root.log"' EXIT
echo "making node image $image from Debian's packages"
debootstrap --variant=minbase \
	--include=ca-certificates,docker.io,iproute2,iptables,kmod,openssh-server,procps \
	bookworm "$root" >"$root.log" 2>&1 || {
	tail -n 5 "$root.log" >&2
	exit 1
}
rm -f "$root.log" "$root"/etc/ssh/ssh_host_*
rm -rf "$root"/var/{cache,lib}/apt/* "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/log/*
install -m 755 "$here/entrypoint.sh" "$root/usr/local/bin/skep-node"
install -m 600 "$here/sshd_config" "$root/etc/ssh/skep_sshd_config"
tar -C "$root" -c . | docker import \
	--change "LABEL skep.recipe=$recipe" \
	--change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
	--change 'VOLUME /var/lib/docker' --change 'EXPOSE 22' \
	--change 'ENTRYPOINT ["/usr/local/bin/skep-node"]' \
	- "$image" >/dev/null
echo "node image $image is made"
