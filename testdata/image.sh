# Sourced by the build.sh scripts beside it, with bash. An image carries the hash of what it was made of in a label,
# so a second build that would make the same image does nothing.
#
#   inputs FILE…            the hash of these files, of this one and of the words in $also
#   current IMAGE HASH      is IMAGE here, made of these inputs?
#   import ROOT IMAGE HASH CHANGE…   make IMAGE of the tree under ROOT; a CHANGE is a Dockerfile instruction
#   need COMMAND PACKAGE…   install the Debian packages if the command is missing
#   gobuild OUT ARGS…       go build, the same on every machine and under any user

set -euo pipefail
umask 022

label=skep-test.inputs
testdata=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

inputs() {
  {
    printf '%s\n' "${also:-}"
    sha256sum <"$testdata/image.sh"
    for file in "$@"; do
      printf '%s ' "${file##*/}"
      sha256sum <"$file"
    done
  } | sha256sum | cut -d' ' -f1
}

hash_of() { docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null || true; }

current() { [ "$(hash_of "$1")" = "$2" ]; }

import() {
  local root=$1 image=$2 hash=$3 old changes=()
  shift 3
  for change in "$@" "LABEL $label=$hash"; do changes+=(--change "$change"); done
  old=$(docker image inspect -f '{{.Id}}' "$image" 2>/dev/null || true)
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$root" -c . |
    docker import "${changes[@]}" - "$image" >/dev/null
  # The image that had the name before is of no use any more, unless a container still runs it.
  if [ -n "$old" ]; then docker image rm "$old" >/dev/null 2>&1 || true; fi
}

need() {
  local command=$1
  shift
  if type -P "$command" >/dev/null; then return; fi
  echo "installing $*" >&2
  export DEBIAN_FRONTEND=noninteractive
  # Another script may be installing at this moment.
  packages() { apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "$@" >&2; }
  packages "$@" || {
    apt-get update -qq >&2
    packages "$@"
  }
}

gobuild() {
  local out=$1
  shift
  GOFLAGS="${GOFLAGS:-} -buildvcs=false" go build -trimpath -o "$out" "$@"
}
