#!/bin/bash
# Makes skep-test/wire:1, which sends, takes and echoes bytes for the benchmark of tunnels.
. "$(dirname "$0")/../image.sh"
image=skep-test/wire:1
here=$testdata/wire

hash=$(also=$(go env GOVERSION) inputs "$0" "$here"/*.go)
if ! current "$image" "$hash"; then
  echo "making $image: compiling wire" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  cd "$testdata/.."
  CGO_ENABLED=0 gobuild "$tmp/root/wire" -ldflags '-s -w' ./testdata/wire
  import "$tmp/root" "$image" "$hash" 'ENTRYPOINT ["/wire"]' 'USER 65534:65534' 'EXPOSE 9000'
fi
echo "$image"
