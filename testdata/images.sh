#!/bin/bash
# Makes the test images of the given names, or all but big: testdata/images.sh rqlite hello. What is there already is
# left alone. The names of the images go to stdout.
set -euo pipefail
here=$(dirname "$0")
if [ $# = 0 ]; then set -- base rqlite rqlite4 etcd consul crate rethinkdb hello; fi
for name in "$@"; do
  if ! [ -x "$here/$name/build.sh" ]; then
    echo "images.sh: no image $name; there are: $(cd "$here" && echo */build.sh | sed 's,/build.sh,,g')" >&2
    exit 2
  fi
done
for name in "$@"; do "$here/$name/build.sh"; done
