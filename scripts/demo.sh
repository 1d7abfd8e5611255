#!/bin/bash
# The demo: an environment with two databases, an app and tunnels, and the proof that it outlives a server. Run by
# `make demo`, which makes the binary and the images first. What is there already is left as it is.
set -euo pipefail
exec 2>&1 # one stream, so that a log keeps the order
cd "$(dirname "$0")/.."
env=demo
image=rethinkdb:2.4
standin=skep-test/rethinkdb:2.4
rqlite=com.docker.swarm.service.name=rqlite

title() { printf '\n== %s\n' "$*"; }
die() {
  echo "demo: $*" >&2
  exit 1
}
shown() { printf '$ %s\n' "$*" >&2; }
skep() {
  shown skep "$@"
  bin/skep "$@"
}

# within SECONDS COMMAND… runs it until it succeeds; the last try's errors are seen.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" 2>/dev/null; do
    if [ $SECONDS -ge $deadline ]; then
      "$@"
      return
    fi
    sleep 0.2
  done
}

# ask NODE METHOD PATH [BODY] speaks HTTP to the rqlite server on that one node, from inside its container, and prints
# the answer's body.
ask() {
  local body=${4:-}
  printf '%s %s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' "$2" "$3" ${#body} "$body" |
    bin/skep nodes ssh $env "$1" -- "docker exec -i \$(docker ps -qf label=$rqlite) \
      bash -c 'exec 3<>/dev/tcp/localhost/4001 && cat >&3 && cat <&3'" | sed '1,/^\r$/d'
}

# sql NODE STATEMENT has that node's server run it. An answer is never stale: a server that does not lead asks the one
# that does.
sql() {
  local answer
  answer=$(ask "$1" POST '/db/request?level=linearizable' "[\"$2\"]")
  case $answer in
    *'"error"'* | '') echo "$1: ${answer:-no answer}" >&2 && return 1 ;;
    *'"results"'*) printf '%s: %s\n  %s\n' "$1" "$2" "$answer" ;;
    *) echo "$1: $answer" >&2 && return 1 ;;
  esac
}

# leader NODE prints the name of the node whose server leads, as the server on NODE knows it.
leader() { ask "$1" GET /leader | sed -n 's/.*"id":"rq-\([^"]*\)".*/\1/p' | grep .; }

# tunnel SERVICE:PORT opens a tunnel and prints where it begins.
tunnel() {
  local line
  line=$(skep tunnel open $env "$1")
  echo "$line" >&2
  echo "${line%% *}"
}

title "Machines, and a swarm on them"
skep nodes create $env
skep nodes ls $env

title "rqlite, a server on three nodes"
skep rqlite create $env
skep rqlite status $env

title "RethinkDB, a seed and a server on every node"
if ! docker image inspect $image >/dev/null 2>&1; then
  echo "looking for $image in the registry"
  timeout 25 docker pull -q $image >/dev/null 2>&1 || {
    echo "No registry gives $image. What runs here is a STAND-IN from testdata/rethinkdb, which joins as the real server"
    echo "does, speaks its protocol and keeps data, and knows no more of the query language than tests need."
    image=$standin
  }
fi
skep rethink create --image $image $env
skep rethink status $env

title "An app that reads from rqlite, six times"
app=$(skep app deploy -t 9090 -r 6 -e RQLITE_URL=http://tasks.rqlite:4001 hello hello:0.1 $env)
echo "$app"
app=${app%% *}

title "Tunnels"
rqlite_at=$(tunnel rqlite:4001)
rethink_at=$(tunnel rethink:8080)

title "A row written through one node, read through another"
nodes=("$env-manager-1" "$env-worker-1" "$env-worker-2")
first=$(within 30 leader "${nodes[0]}")
others=()
for node in "${nodes[@]}"; do [ "$node" = "$first" ] || others+=("$node"); done
echo "the server on $first leads"
sql "${others[0]}" "CREATE TABLE IF NOT EXISTS hello (text TEXT)"
sql "${others[0]}" "DELETE FROM hello"
sql "${others[0]}" "INSERT INTO hello VALUES ('written through ${others[0]} at $(date +%T)')"
sql "${others[1]}" "SELECT text FROM hello"

title "The leader is killed"
skep nodes ssh $env "$first" -- "docker kill \$(docker ps -qf label=$rqlite)"
start=${EPOCHREALTIME/./}
within 30 sql "${others[1]}" "SELECT text FROM hello"
within 30 sql "${others[0]}" "INSERT INTO hello VALUES ('written after the leader died')"
printf 'read and written again %d ms after the kill; ' $(((${EPOCHREALTIME/./} - start) / 1000))
echo "the server on $(within 30 leader "${others[0]}") leads"
within 60 bin/skep rqlite status $env >/dev/null
skep rqlite status $env
sql "$first" "SELECT text FROM hello"

title "The app"
shown curl "http://$app/demo"
page=$(curl -fsS --max-time 10 "http://$app/demo")
echo "$page"
[[ $page == *"written through"* ]] || die "the app does not show the row"

title "There it is"
skep tunnel ls $env
cat <<END

  app           http://$app/
  rqlite        http://$rqlite_at/status?pretty
  RethinkDB     http://$rethink_at/$([ $image = $standin ] && echo '   (a stand-in)')

make demo-rm removes it all.
END
