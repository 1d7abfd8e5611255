#!/bin/bash
# Makes skep-test/big:150, the sample app with 150 MB of random bytes beside it, which no compression makes smaller: an
# image to measure shipping with.
. "$(dirname "$0")/../image.sh"
image=skep-test/big:150
hello=$testdata/hello

hash=$(also=$(go env GOVERSION) inputs "$0" "$hello"/*.go)
if ! current "$image" "$hash"; then
  echo "making $image: 150 MB of random bytes" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  cd "$testdata/.."
  CGO_ENABLED=0 gobuild "$tmp/root/hello" -ldflags '-s -w' ./testdata/hello
  head -c 150000000 /dev/urandom >"$tmp/root/ballast"
  import "$tmp/root" "$image" "$hash" 'ENTRYPOINT ["/hello"]' 'USER 65534:65534' 'EXPOSE 9090'
fi
echo "$image"
