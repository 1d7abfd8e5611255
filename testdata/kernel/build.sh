#!/bin/bash
# Makes a VM with Debian's own kernel, which has what small test kernels lack: IPVS, ESP, netem. build.sh DIR writes
# vmlinuz, ir.gz and root.ext4 there, of Debian's packages alone; nothing when they were made by this same recipe
# already. What DIR/share holds is /host inside, and the VM runs /host/run.sh.
set -euo pipefail
dir=${1:?usage: build.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir/share"
cd "$dir"
recipe=$(cat "$here"/{build.sh,vminit,init} | sha256sum)
if [ "$(cat recipe 2>/dev/null)" = "$recipe" ]; then exit 0; fi
rm -rf recipe root ir kernel ./*.deb

echo "making the VM of Debian's packages, which takes minutes the first time" >&2
package=$(apt-cache depends linux-image-amd64 | awk '/Depends/ { print $2; exit }')
version=${package#linux-image-}
apt-get download "$package" >/dev/null
dpkg -x "$package"*.deb kernel
debootstrap --variant=minbase \
  --include=ca-certificates,docker.io,iproute2,iptables,iputils-ping,ipvsadm,kmod,openssh-client,openssh-server,procps \
  bookworm root >debootstrap.log 2>&1 || {
  tail -n 5 debootstrap.log >&2
  exit 1
}
rm -rf root/var/{cache,lib}/apt/* root/usr/share/{doc,man,locale,info}/* root/etc/ssh/ssh_host_*
cp -a kernel/lib/modules root/lib/
chroot root depmod "$version"
install -m 755 "$here/vminit" root/sbin/vminit
truncate -s 8G root.ext4
mke2fs -q -F -t ext4 -d root root.ext4

mkdir -p ir/bin ir/mnt
cp /bin/busybox ir/bin/
install -m 755 "$here/init" ir/init
for module in virtio virtio_ring virtio_pci virtio_pci_modern_dev virtio_pci_legacy_dev virtio_blk ext4 jbd2 mbcache \
  crc16 crc32c_generic libcrc32c; do
  file=$(find "root/lib/modules/$version" -name "$module.ko")
  if [ -n "$file" ]; then install -D "$file" "ir/${file#root/}"; fi
done
cp "root/lib/modules/$version"/modules.* "ir/lib/modules/$version/"
depmod -b ir "$version"
(cd ir && find . | cpio --quiet -o -H newc | gzip >../ir.gz)
cp "kernel/boot/vmlinuz-$version" vmlinuz
rm -rf root ir kernel ./*.deb debootstrap.log
echo "$recipe" >recipe
