#!/bin/bash
# Makes skep-test/rethinkdb:2.4, the stand-in of this folder, laid out as the image rethinkdb:2.4 is: the server in
# /usr/local/bin, data under /data. The userland is that of skep-test/base.
. "$(dirname "$0")/../image.sh"
image=skep-test/rethinkdb:2.4
rootfs=$testdata/base/rootfs.sh
here=$testdata/rethinkdb

hash=$(also="$("$rootfs" --hash) $(go env GOVERSION)" inputs "$0" "$here"/*.go)
if ! current "$image" "$hash"; then
  echo "making $image: compiling the stand-in for RethinkDB" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  "$rootfs" "$tmp/root"
  cd "$testdata/.."
  CGO_ENABLED=0 gobuild "$tmp/root/usr/local/bin/rethinkdb" -ldflags '-s -w' ./testdata/rethinkdb
  mkdir -p "$tmp/root/data"
  import "$tmp/root" "$image" "$hash" 'CMD ["rethinkdb", "--bind", "all"]' 'WORKDIR /data' 'VOLUME /data' \
    'EXPOSE 28015 29015 8080'
fi
echo "$image"
