#!/bin/bash
# Gets a Debian machine ready, and does nothing where that is done already.
#
#   setup.sh          what tests and demo need, and a Docker engine that runs
#   setup.sh build    what a build needs
#   setup.sh lint     what the linters need
#   setup.sh kernel   what tests and demo need, and what the VM of test-kernel needs
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

say() { echo "set-up: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# need COMMAND PACKAGE… notes the packages to install where the command, or the file, is missing.
missing=()
need() {
  local what=$1
  shift
  if [ -e "$what" ] || type -P "$what" >/dev/null; then return; fi
  missing+=("$@")
}

install_missing() {
  if [ ${#missing[@]} = 0 ]; then return; fi
  say "installing ${missing[*]}"
  [ "$(id -u)" = 0 ] || die "that takes root: apt-get install ${missing[*]}"
  type -P apt-get >/dev/null || die "there is no apt-get here; install them and run this again"
  local log
  log=$(mktemp)
  if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "installing them failed; its log is $log"
  fi
  rm -f "$log"
}

answers() { docker version >/dev/null 2>&1; }

# program PID prints what that process runs; nothing of one that ended, reaped or not.
program() { readlink "/proc/$1/exe" || true; }

# wait_for_engine PID waits until the engine answers; fails when the process has ended, or after a minute.
wait_for_engine() {
  local deadline=$((SECONDS + 60))
  until answers; do
    if [ $SECONDS -ge $deadline ] || [ -z "$(program "$1")" ]; then return 1; fi
    sleep 0.2
  done
}

is_engine() { [[ $(program "$1") == */@(dockerd|containerd)* ]]; }

# An engine that was cut off leaves files with process ids. If there is a process of that id again, the engine takes it
# for its own and does not start.
clear_stale_pids() {
  local file
  for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    if [ -f "$file" ] && ! is_engine "$(cat "$file")"; then rm -f "$file"; fi
  done
}

start_engine() {
  if answers; then return; fi
  local context log=/var/log/dockerd.log
  context=$(docker context show 2>/dev/null || echo default)
  if [ -n "${DOCKER_HOST:-}" ] || [ "$context" != default ]; then
    die "the Docker engine at ${DOCKER_HOST:-context $context} does not answer; it is not this machine's to start"
  fi
  [ "$(id -u)" = 0 ] || die "the Docker engine does not answer; start it, or run this as root"
  if [ -d /run/systemd/system ]; then
    say "starting the Docker engine"
    systemctl start docker || die "the Docker engine does not start; see: journalctl -u docker"
    return
  fi
  # In a container, or where nothing else looks after services. One that is just starting or stopping comes first.
  local pid
  if pid=$(cat /var/run/docker.pid 2>/dev/null) && is_engine "$pid" && wait_for_engine "$pid"; then return; fi
  say "starting the Docker engine"
  clear_stale_pids
  setsid nohup dockerd </dev/null >>"$log" 2>&1 &
  if ! wait_for_engine $!; then
    tail -n 5 "$log" >&2
    die "the Docker engine does not start; its log is $log"
  fi
}

type -P go >/dev/null || die "Go is missing: install it from https://go.dev/dl and put it on PATH"
need /etc/ssl/certs/ca-certificates.crt ca-certificates
case ${1:-all} in
  build) ;;
  lint) need shellcheck shellcheck ;;
  all | kernel)
    need dockerd docker.io
    need docker docker.io
    need curl curl
    need pgrep procps
    need debootstrap debootstrap
    need gcc gcc
    need /usr/include/stdlib.h libc6-dev
    ;;
  *) die "set up for what? build, lint, kernel, or nothing for all" ;;
esac
if [ "${1:-all}" = kernel ]; then
  need qemu-system-x86_64 qemu-system-x86
  need cpio cpio
  need depmod kmod
  need /bin/busybox busybox-static
fi
install_missing
case ${1:-all} in all | kernel) start_engine ;; esac
