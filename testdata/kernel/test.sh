#!/bin/bash
# Runs the tests of this folder inside the VM: test.sh DIR [FLAG]…, where DIR is where the VM is made and kept, and the
# flags go to the tests: -updates 20. Fails unless they all pass.
set -euo pipefail
dir=${1:?usage: test.sh DIR [FLAG]…}
shift
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
"$here/build.sh" "$dir"
share=$dir/share
cp bin/skep "$here"/{host,run}.sh "$share/"
echo "$*" >"$share/flags"
docker save -o "$share/images.tar" rqlite/rqlite:8.43.4 hello:0.1
CGO_ENABLED=0 go test -c -o "$share/kernel.test" ./testdata/kernel
"$here/boot.sh" "$dir" | tee "$dir/console.log"
grep -q '^kernel tests ended with 0' "$dir/console.log"
