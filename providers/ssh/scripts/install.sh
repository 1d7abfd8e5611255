# Installs the distribution's own Docker Engine where there is none, and starts it.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin
packages=${packages-}
export DEBIAN_FRONTEND=noninteractive

quietly() {
	words=$("$@" 2>&1 </dev/null) || {
		printf '%s: %s\n' "$1" "$(printf '%s\n' "$words" | tail -n 3 | tr '\n' ' ')" >&2
		exit 1
	}
}

if ! command -v docker >/dev/null; then
	case $packages in
	apt-get)
		quietly apt-get -q -o DPkg::Lock::Timeout=120 update
		quietly apt-get -q -y -o DPkg::Lock::Timeout=120 install docker.io
		;;
	apk) quietly apk add --no-progress docker ;;
	pacman) quietly pacman -Sy --noconfirm docker ;;
	zypper) quietly zypper -n install docker ;;
	dnf)
		if command -v dnf >/dev/null; then tool=dnf; else tool=yum; fi
		# shellcheck source=/dev/null
		case $(. /etc/os-release && echo "$ID") in
		fedora) quietly $tool -y install moby-engine ;;
		*) quietly $tool -y install docker ;;
		esac
		;;
	esac
fi
if ! docker version >/dev/null 2>&1; then
	if [ -d /run/systemd/system ]; then
		quietly systemctl enable --now docker
	elif command -v rc-service >/dev/null; then
		quietly rc-update add docker default
		quietly rc-service docker start
	else
		quietly service docker start
	fi
fi
tries=0
until words=$(docker version -f '{{.Server.Version}}' 2>&1); do
	tries=$((tries + 1))
	if [ $tries -ge 60 ]; then
		printf 'Docker is installed and does not answer: %s\n' "$words" >&2
		exit 1
	fi
	sleep 1
done
