#!/bin/bash
# Makes rqlite/rqlite:8.43.4, laid out as the image of that name is: rqlited and its start script in /bin, data under
# /rqlite/file. Both come from the module; the userland is that of skep-test/base instead of Alpine's.
. "$(dirname "$0")/../image.sh"
image=rqlite/rqlite:8.43.4
version=v${image#*:}
rootfs=$testdata/base/rootfs.sh
here=$testdata/rqlite

hash=$(also="$("$rootfs" --hash) $(go env GOVERSION)" inputs "$0" "$here/go.mod" "$here/go.sum")
if ! current "$image" "$hash"; then
  echo "making $image: compiling rqlited, which takes minutes the first time" >&2
  need gcc gcc libc6-dev
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  "$rootfs" "$tmp/root"

  cd "$here"
  go mod download github.com/rqlite/rqlite/v8
  CGO_ENABLED=1 gobuild "$tmp/root/usr/bin/rqlited" -tags osusergo,netgo,sqlite_omit_load_extension \
    -ldflags "-s -w -linkmode external -extldflags -static -X github.com/rqlite/rqlite/v8/cmd.Version=$version" \
    github.com/rqlite/rqlite/v8/cmd/rqlited
  install -m 755 "$(go list -m -f '{{.Dir}}' github.com/rqlite/rqlite/v8)/docker-entrypoint.sh" "$tmp/root/usr/bin/"
  mkdir -p "$tmp/root/rqlite/file"

  import "$tmp/root" "$image" "$hash" 'ENTRYPOINT ["docker-entrypoint.sh"]' 'CMD ["run"]' \
    'EXPOSE 4001 4002' 'VOLUME /rqlite/file'
fi
echo "$image"
