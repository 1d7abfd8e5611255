# Starts rqlite as a member of the cluster behind the name tasks.rqlite. The
# host name is the node's, which the others on the network resolve.
set -eu
exec rqlited \
	-node-id "$HOSTNAME" \
	-http-addr 0.0.0.0:4001 -http-adv-addr "$HOSTNAME:4001" \
	-raft-addr 0.0.0.0:4002 -raft-adv-addr "$HOSTNAME:4002" \
	-bootstrap-expect "$SKEP_EXPECT" \
	-disco-mode dns -disco-config '{"name":"tasks.rqlite"}' \
	/rqlite/file/data
