#!/bin/bash
# Makes the test images of the given names, or all but big: testdata/images.sh rqlite hello. What is there already is
# left alone. The names of the images go to stdout.
set -euo pipefail
here=$(dirname "$0")
if [ $# = 0 ]; then set -- base consul rqlite rqlite4 etcd crate rethinkdb hello; fi
for name in "$@"; do
  if ! [ -x "$here/$name/build.sh" ]; then
    echo "images.sh: no image $name; there are: $(cd "$here" && echo */build.sh | sed 's,/build.sh,,g')" >&2
    exit 2
  fi
done
# Two at once: compilers of large packages leave a processor idle for minutes.
printf '%s\n' "$@" | xargs -P 2 -I{} bash "$here/{}/build.sh"
