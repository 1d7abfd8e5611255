#!/bin/bash
# Makes hello:0.1, the sample app: one static binary and nothing else in the image.
. "$(dirname "$0")/../image.sh"
image=hello:0.1
here=$testdata/hello

hash=$(also=$(go env GOVERSION) inputs "$0" "$here"/*.go)
if ! current "$image" "$hash"; then
  echo "making $image: compiling hello" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  cd "$testdata/.."
  CGO_ENABLED=0 gobuild "$tmp/root/hello" -ldflags '-s -w' ./testdata/hello
  import "$tmp/root" "$image" "$hash" 'ENTRYPOINT ["/hello"]' 'USER 65534:65534' 'EXPOSE 9090'
fi
echo "$image"
