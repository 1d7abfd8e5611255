#!/bin/bash
# Makes skep-test/crate:5.10, the stand-in of this folder, laid out as the image crate:5.10 is: the server in the path,
# data under /data. The userland is that of skep-test/base.
. "$(dirname "$0")/../image.sh"
image=skep-test/crate:5.10
rootfs=$testdata/base/rootfs.sh
here=$testdata/crate

hash=$(also="$("$rootfs" --hash) $(go env GOVERSION)" inputs "$0" "$here"/*.go)
if ! current "$image" "$hash"; then
  echo "making $image: compiling the stand-in for CrateDB" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  "$rootfs" "$tmp/root"
  cd "$testdata/.."
  CGO_ENABLED=0 gobuild "$tmp/root/crate/bin/crate" -ldflags '-s -w' ./testdata/crate
  mkdir -p "$tmp/root/data"
  import "$tmp/root" "$image" "$hash" 'CMD ["crate"]' 'ENV PATH=/crate/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'WORKDIR /data' 'VOLUME /data' \
    'EXPOSE 4200 4300'
fi
echo "$image"
