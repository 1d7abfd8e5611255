# Starts CrateDB as the server of its node.
set -eu
data=/data/data

# The address on the overlay, which the engine gives the host name; the task has
# another on its node's own bridge, which no other node reaches.
address=$(getent ahostsv4 "$HOSTNAME" | { read -r a _ && echo "$a"; })

# Half of the memory is for the file system's cache; of the rest other services
# of the node want some. More than 30 GB would cost the heap its short pointers.
total=$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)
for limit in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
	if [ -r "$limit" ]; then
		own=$(awk '/^[0-9]+$/ {printf "%.0f\n", $1 / 1048576}' "$limit")
		if [ -n "$own" ] && [ "$own" -lt "$total" ]; then total=$own; fi
	fi
done
heap=$((total / 4))
[ "$heap" -ge 256 ] || heap=256
[ "$heap" -le 30720 ] || heap=30720
export CRATE_HEAP_SIZE="${heap}m"

set -- "-Ccluster.name=skep" "-Cnode.name=$SKEP_NODE" "-Cpath.data=$data" \
	-Cnetwork.host=0.0.0.0 "-Cnetwork.publish_host=$address" -Chttp.port=4200 -Ctransport.port=4300 \
	-Cdiscovery.seed_hosts=tasks.crate:4300 \
	"-Cgateway.expected_data_nodes=$SKEP_NODES" "-Cgateway.recover_after_data_nodes=$SKEP_RECOVER"

# On the first boot alone: servers that began a cluster each cannot be merged.
case ",$SKEP_MASTERS," in
*",$SKEP_NODE,"*) [ -d "$data/nodes" ] || set -- "$@" "-Ccluster.initial_master_nodes=$SKEP_MASTERS" ;;
esac
exec crate "$@"
