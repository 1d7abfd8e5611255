#!/bin/bash
# Makes consul:1.9.5 from its Go module, on the userland of skep-test/base instead of Alpine's.
. "$(dirname "$0")/../image.sh"
image=consul:1.9.5
rootfs=$testdata/base/rootfs.sh
here=$testdata/consul

hash=$(also="$("$rootfs" --hash) $(go env GOVERSION)" inputs "$0" "$here/go.mod" "$here/go.sum")
if ! current "$image" "$hash"; then
  echo "making $image: compiling consul, which takes minutes the first time" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  "$rootfs" "$tmp/root"
  cd "$here"
  CGO_ENABLED=0 gobuild "$tmp/root/usr/bin/consul" -ldflags '-s -w' github.com/hashicorp/consul
  mkdir -p "$tmp/root/consul/data"
  import "$tmp/root" "$image" "$hash" 'CMD ["consul", "agent", "-dev", "-client", "0.0.0.0"]' 'VOLUME /consul/data' 'EXPOSE 8500'
fi
echo "$image"
