#!/bin/bash
# Removes what `make demo` made, and fails if anything of it is left: machines, volumes, networks, tunnels, local
# files, and the images that the demo built, unless other containers use them.
set -euo pipefail
cd "$(dirname "$0")/.."
env=demo
state=${XDG_STATE_HOME:-$HOME/.local/state}/skep

echo "\$ skep nodes rm -f $env"
bin/skep nodes rm -f $env

for image in "skep-node:$(bin/skep version)" rqlite/rqlite:8.43.4 hello:0.1 \
  $(docker image ls --filter 'reference=skep-test/*' --format '{{.Repository}}:{{.Tag}}'); do
  docker image inspect "$image" >/dev/null 2>&1 || continue
  if [ -n "$(docker ps -aq --filter "ancestor=$image")" ]; then
    echo "image $image stays: containers use it"
  else
    docker image rm "$image" >/dev/null
    echo "image $image is removed"
  fi
done

left=$(
  docker ps -aq --filter label=skep.env=$env | sed 's/^/container /'
  docker volume ls -q --filter label=skep.env=$env | sed 's/^/volume /'
  docker network ls -q --filter label=skep.env=$env | sed 's/^/network /'
  pgrep -af "tunnel serve $env\$" || true
  ls -d "$state/known_hosts/$env" "$state/$env.sock" "$state/$env.sock.pid" 2>/dev/null || true
)
if [ -n "$left" ]; then
  printf 'demo-rm: left behind:\n%s\n' "$left" >&2
  exit 1
fi
rm -f "$state/$env".{lock,tunnel.log,sock.alive,sock.start} # empty locks, and a log of what is gone
echo "nothing of $env is left; its tunnel ports stay reserved, and skep's own key stays"
