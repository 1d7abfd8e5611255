#!/bin/bash
# Makes rancher/mirrored-coreos-etcd:v3.6.4, the image that skep deploys, with the etcd of Debian's package in it: that
# is version 3.4, which takes the same settings and costs no minutes of compiling. Like the image of that name it has
# etcd and no shell.
. "$(dirname "$0")/../image.sh"
image=rancher/mirrored-coreos-etcd:v3.6.4
package=etcd-server

hash=$(inputs "$0")
if ! current "$image" "$hash"; then
  echo "making $image of Debian's $package" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  cd "$tmp"
  download() { apt-get -qq -o APT::Sandbox::User=root download "$package" >&2; }
  download || { apt-get update -qq >&2 && download; }
  dpkg -x ./*.deb package
  mkdir -p root/usr/local/bin
  cp package/usr/bin/etcd root/usr/local/bin/
  for library in $(ldd package/usr/bin/etcd | grep -o '/[^ :]*\.so[^ :]*'); do
    mkdir -p "root${library%/*}"
    cp -L "$library" "root$library"
  done
  import root "$image" "$hash" 'CMD ["/usr/local/bin/etcd"]' 'ENV PATH=/usr/local/bin' 'EXPOSE 2379 2380'
fi
echo "$image"
