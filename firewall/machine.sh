# Puts skep's firewall on the machine that this runs on, as root, or takes it
# off. Set before are mode (install, update, remove), v4 and v6, the rules. The
# argument is the port that sshd took this connection on. Prints what there is
# in the end: none, kept, or passing.
set -eu
: "${mode:?}" "${v4:?}" "${v6:?}"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
dir=/etc/skep
unit=/etc/systemd/system/skep-firewall.service
boot2docker=/var/lib/boot2docker # all else is lost there at every start
bootsync=$boot2docker/bootsync.sh # which runs before Docker
if [ -d $boot2docker ]; then dir=$boot2docker/skep; fi

fail() {
	echo "$*" >&2
	exit 1
}

# uplinks prints rules for interfaces that lead outside and are named like a
# bridge of Docker's, which would be trusted.
uplinks() {
	{ ip -o -4 route show default; ip -o -6 route show default; } 2>/dev/null |
		sed -n 's/.* dev \([^ ]*\).*/\1/p' | sort -u | while read -r link; do
		case $link in
		br-* | veth* | docker0 | virbr* | lxdbr* | podman*) echo "-A SKEP-FW -i $link -g SKEP-IN" ;;
		esac
	done
}

# rules fills in the marks.
rules() {
	printf '%s\n' "$1" | while IFS= read -r line; do
		case $line in
		'# uplinks') uplinks ;;
		*@SSH@*) [ "$port" = 22 ] || echo "${line%%@SSH@*}$port${line#*@SSH@}" ;;
		*) echo "$line" ;;
		esac
	done
}

# put writes a file in one step, with the mode given.
put() {
	cat >"$1.new"
	chmod "$2" "$1.new"
	mv "$1.new" "$1"
}

# keep has the machine apply the rules at every start, before Docker.
keep() {
	if [ -d /run/systemd/system ]; then
		put $unit 644 <<-END
			[Unit]
			Description=Firewall of skep
			DefaultDependencies=no
			After=local-fs.target systemd-modules-load.service
			Before=network-pre.target docker.service shutdown.target
			Wants=network-pre.target
			Conflicts=shutdown.target

			[Service]
			Type=oneshot
			RemainAfterExit=yes
			ExecStart=$dir/firewall

			[Install]
			WantedBy=multi-user.target
		END
		systemctl daemon-reload
		systemctl --quiet enable skep-firewall.service
	elif [ -d $boot2docker ]; then
		if ! grep -qs "$dir/firewall" $bootsync; then
			{ cat $bootsync 2>/dev/null || echo '#!/bin/sh'; echo "$dir/firewall"; } | put $bootsync 755
		fi
	elif [ ! -x /usr/local/bin/skep-node ]; then # which looks for it itself
		state=passing
	fi
}

remove() {
	for tool in iptables ip6tables; do
		command -v $tool >/dev/null || continue
		while $tool -w 10 -t mangle -D PREROUTING -j SKEP-FW; do :; done
		for chain in SKEP-FW SKEP-IN SKEP-NODES; do $tool -w 10 -t mangle -F $chain || true; done
		for chain in SKEP-FW SKEP-IN SKEP-NODES; do $tool -w 10 -t mangle -X $chain || true; done
	done 2>/dev/null
	if [ -e $unit ]; then
		systemctl --quiet disable skep-firewall.service || true
		rm -f $unit
		systemctl daemon-reload || true
	fi
	if grep -qs "$dir/firewall" $bootsync; then
		sed -i "\|$dir/firewall|d" $bootsync
		[ "$(cat $bootsync)" != '#!/bin/sh' ] || rm -f $bootsync
	fi
	rm -f $dir/firewall $dir/firewall.v4 $dir/firewall.v6
	rmdir $dir 2>/dev/null || true
}

install() {
	for tool in iptables ip6tables; do
		[ $tool = iptables ] || [ -e /proc/net/if_inet6 ] || continue
		command -v $tool-restore >/dev/null || fail "there is no $tool: install it there (apt-get install iptables)"
	done
	new=
	[ -e $dir/firewall.v4 ] || new=yes
	mkdir -p $dir
	rules "$v4" | put $dir/firewall.v4 644
	rules "$v6" | put $dir/firewall.v6 644
	put $dir/firewall 755 <<-'END'
		#!/bin/sh
		# Puts skep's firewall in force, in place of what is there of it.
		set -eu
		PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
		apply() {
			"$1-restore" -w 10 --noflush <"${0%/*}/firewall.$2"
			"$1" -w 10 -t mangle -C PREROUTING -j SKEP-FW 2>/dev/null || "$1" -w 10 -t mangle -I PREROUTING -j SKEP-FW
		}
		apply iptables v4
		[ ! -e /proc/net/if_inet6 ] || apply ip6tables v6
	END
	if ! $dir/firewall; then
		[ -z "$new" ] || remove
		fail "its kernel or its iptables does not take the rules"
	fi
	state=kept
	keep
}

main() {
	port=${1:-22}
	state=none
	case $mode in
	remove) remove ;;
	install) install ;;
	update) if [ -e $dir/firewall.v4 ]; then install; fi ;;
	esac
	echo "$state"
}

# Nothing in it may read the rest of this script.
main "$@" </dev/null
