#!/bin/sh
# One host in the VM, in a network namespace of its name: host.sh N. It has its own name, its own files over those of
# the VM, an sshd and a dockerd, and goes on where the VM has left off: no init system runs in it.
set -e
n=$1
root=/tmp/host$n
mkdir -p "$root/upper" "$root/work" "$root/root" "/var/lib/docker$n"
mount --make-rprivate /
mount -t overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" host "$root/root"
cd "$root/root"
for dir in proc sys dev; do mount --rbind /$dir $dir; done
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p var/lib/docker
mount --bind "/var/lib/docker$n" var/lib/docker
mkdir -p old
pivot_root . old
umount -l /old
hostname "host$n"
echo "host$n" >/etc/hostname
mkdir -p /run/sshd /root/.ssh
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
/usr/sbin/sshd -o PermitRootLogin=prohibit-password -o HostKey=/etc/ssh/ssh_host_ed25519_key
exec dockerd >/var/log/dockerd.log 2>&1
