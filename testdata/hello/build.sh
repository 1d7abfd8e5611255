#!/bin/bash
# Makes hello:0.1, the sample app: a static binary and, as in the images of `skep app build`, a probe for healthchecks.
. "$(dirname "$0")/../image.sh"
image=hello:0.1
here=$testdata/hello

hash=$(also=$(go env GOVERSION) inputs "$0" "$here"/*.go "$testdata"/../images/probe/*.go)
if ! current "$image" "$hash"; then
  echo "making $image: compiling hello" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  cd "$testdata/.."
  CGO_ENABLED=0 gobuild "$tmp/root/hello" -ldflags '-s -w' ./testdata/hello
  CGO_ENABLED=0 gobuild "$tmp/root/.skep/probe" -ldflags '-s -w' ./images/probe
  import "$tmp/root" "$image" "$hash" 'ENTRYPOINT ["/hello"]' 'USER 65534:65534' 'EXPOSE 9090' 'LABEL skep.probe=/.skep/probe'
fi
echo "$image"
