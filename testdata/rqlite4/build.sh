#!/bin/bash
# Makes rqlite/rqlite:4.6.0, which speaks to a discovery service, from its module; the userland is that of
# skep-test/base. Its own raft is pinned to the one of its day: it had no go.mod then.
. "$(dirname "$0")/../image.sh"
image=rqlite/rqlite:4.6.0
version=v${image#*:}
rootfs=$testdata/base/rootfs.sh
here=$testdata/rqlite4

hash=$(also="$("$rootfs" --hash) $(go env GOVERSION)" inputs "$0" "$here/go.mod" "$here/go.sum")
if ! current "$image" "$hash"; then
  echo "making $image: compiling rqlited" >&2
  need gcc gcc libc6-dev
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  "$rootfs" "$tmp/root"
  cd "$here"
  CGO_ENABLED=1 gobuild "$tmp/root/usr/bin/rqlited" -tags osusergo,netgo,sqlite_omit_load_extension \
    -ldflags "-s -w -linkmode external -extldflags -static -X main.version=$version" github.com/rqlite/rqlite/cmd/rqlited
  mkdir -p "$tmp/root/rqlite/file"
  import "$tmp/root" "$image" "$hash" 'CMD ["rqlited", "-http-addr", "0.0.0.0:4001", "-raft-addr", "0.0.0.0:4002", "/rqlite/file/data"]' \
    'EXPOSE 4001 4002' 'VOLUME /rqlite/file'
fi
echo "$image"
