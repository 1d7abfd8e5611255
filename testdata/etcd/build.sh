#!/bin/bash
# Makes rancher/mirrored-coreos-etcd:v3.6.4 from its Go module: like the image of that name it has etcd and no shell.
. "$(dirname "$0")/../image.sh"
image=rancher/mirrored-coreos-etcd:v3.6.4
here=$testdata/etcd

hash=$(also=$(go env GOVERSION) inputs "$0" "$here/go.mod" "$here/go.sum")
if ! current "$image" "$hash"; then
  echo "making $image: compiling etcd, which takes minutes the first time" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  cd "$here"
  CGO_ENABLED=0 gobuild "$tmp/root/usr/local/bin/etcd" -ldflags '-s -w' go.etcd.io/etcd/server/v3
  import "$tmp/root" "$image" "$hash" 'CMD ["/usr/local/bin/etcd"]' 'ENV PATH=/usr/local/bin' 'EXPOSE 2379 2380'
fi
echo "$image"
