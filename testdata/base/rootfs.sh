#!/bin/bash
# Fills an empty directory with the userland that the images of real databases have: a shell and the small tools that
# their start scripts call, copied from this Debian with the libraries that ldd names.
#
#   rootfs.sh DIR       fill DIR
#   rootfs.sh --hash    print a hash of all that would go in
. "$(dirname "$0")/../image.sh"

programs=(
  bash dash mawk grep sed getent hostname kill
  basename cat chmod chown cp cut date df dirname du echo env expr false head id ln ls mkdir mktemp mv nproc printf
  pwd readlink realpath rm rmdir seq sleep sort stat sync tail tee test timeout touch tr true uname uniq wc whoami
)
need mawk mawk
need hostname hostname
need getent libc-bin
need kill procps

paths=()
for program in "${programs[@]}"; do paths+=("$(type -P "$program")"); done
mapfile -t libraries < <(ldd "${paths[@]}" | grep -o '/[^ :]*\.so[^ :]*' | sort -u)

if [ "$1" = --hash ]; then
  inputs "$0" "${paths[@]}" "${libraries[@]}"
  exit
fi

root=$1
mkdir -p "$root"/{dev,etc,home,proc,root,run,sys,tmp,usr/bin,usr/lib,usr/lib64,var/lib,var/log,var/tmp}
chmod 700 "$root/root"
chmod 1777 "$root/tmp" "$root/var/tmp"
for link in bin lib lib64; do ln -s "usr/$link" "$root/$link"; done
ln -s usr/bin "$root/sbin"

cp -L "${paths[@]}" "$root/usr/bin/"
ln -s dash "$root/usr/bin/sh"
ln -s mawk "$root/usr/bin/awk"
for library in "${libraries[@]}"; do
  mkdir -p "$root${library%/*}"
  cp -L "$library" "$root$library"
done

cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
END
cat >"$root/etc/group" <<'END'
root:x:0:
nogroup:x:65534:
END
cat >"$root/etc/nsswitch.conf" <<'END'
passwd: files
group:  files
hosts:  files dns
END
