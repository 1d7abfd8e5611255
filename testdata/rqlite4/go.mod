module rqlite4

go 1.26.0

tool (
	github.com/hashicorp/raft
	github.com/hashicorp/raft-boltdb
	github.com/rqlite/rqlite/cmd/rqlited
)

require (
	github.com/armon/go-metrics v0.4.1 // indirect
	github.com/boltdb/bolt v1.3.1 // indirect
	github.com/hashicorp/go-immutable-radix v1.0.0 // indirect
	github.com/hashicorp/go-msgpack v0.5.5 // indirect
	github.com/hashicorp/golang-lru v0.5.0 // indirect
	github.com/hashicorp/raft v0.1.0 // indirect
	github.com/hashicorp/raft-boltdb v0.0.0-20171010151810-6e5ba93211ea // indirect
	github.com/mattn/go-sqlite3 v1.14.52 // indirect
	github.com/rqlite/rqlite v4.6.0+incompatible // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
