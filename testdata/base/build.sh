#!/bin/bash
# Makes skep-test/base:1, the userland under the database images, and tries what start scripts need of it.
. "$(dirname "$0")/../image.sh"
image=skep-test/base:1
rootfs=$testdata/base/rootfs.sh

hash=$(also=$("$rootfs" --hash) inputs "$0")
if ! current "$image" "$hash"; then
  echo "making $image: shell, getent, awk and the like from this Debian" >&2
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  "$rootfs" "$tmp/root"
  import "$tmp/root" "$image" "$hash" 'CMD ["bash"]'
  docker run --rm "$image" bash -ec '
    getent ahostsv4 localhost | grep -q 127.0.0.1
    hostname -I | grep -q "[0-9]"
    echo a b | awk "{ exit \$2 != \"b\" }"
    timeout 5 true; sleep 0; touch /tmp/x; id -u nobody >/dev/null' >&2 || {
    docker image rm "$image" >/dev/null
    echo "$image does not work" >&2
    exit 1
  }
fi
echo "$image"
