package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// record is one thing that every server of the cluster knows: a database, a table's configuration, a server's name and
// tags, a user. Of two that differ the later version wins, everywhere alike, so merging clusters needs no more than
// telling each other all records.
type record struct {
	Kind, ID string
	Version  uint64
	Origin   string // the server that made this version
	Deleted  bool
	Value    []byte // JSON
}

const (
	kindDatabase = "database"
	kindTable    = "table"
	kindServer   = "server"
	kindUser     = "user"
)

const recordsBucket = "records"

func (r record) key() string { return r.Kind + "/" + r.ID }

func (r record) newerThan(other record) bool {
	if r.Version != other.Version {
		return r.Version > other.Version
	}
	return r.Origin > other.Origin
}

type databaseRecord struct{ Name string }

type serverRecord struct {
	Name string
	Tags []string
}

type tableRecord struct {
	Name, Database string
	PrimaryKey     string
	Shards         []shard
	Previous       []string // the voters before a change that is still under way
	Durability     string
	WriteAcks      string
	Indexes        []index
	Data           json.RawMessage `json:",omitempty"`
}

type shard struct {
	Primary   string
	Replicas  []string // Primary among them
	Nonvoting []string
}

type index struct {
	Name       string
	Function   string // base64, opaque
	Query      string
	Multi, Geo bool
}

// voters are the servers of which a majority makes a write count.
func (t tableRecord) voters() []string {
	var all []string
	for _, s := range t.Shards {
		all = append(all, s.Primary)
	}
	for _, s := range t.Shards {
		for _, id := range s.Replicas {
			if !slices.Contains(s.Nonvoting, id) {
				all = append(all, id)
			}
		}
	}
	return unique(all)
}

// replicas are all servers that hold the table when no change is under way.
func (t tableRecord) replicas() []string {
	all := t.voters()
	for _, s := range t.Shards {
		all = append(all, s.Replicas...)
	}
	return unique(all)
}

func (t tableRecord) members() []string { return unique(append(t.replicas(), t.Previous...)) }

// unique keeps the first of each, and drops the empty.
func unique(list []string) []string {
	var kept []string
	for _, one := range list {
		if one != "" && !slices.Contains(kept, one) {
			kept = append(kept, one)
		}
	}
	return kept
}

// records returns those of a kind that are not deleted, sorted by id.
func (s *store) records(kind string) []record {
	var found []record
	s.journal.ascend(recordsBucket, kind+"/", func(e entry) bool {
		if !strings.HasPrefix(e.key, kind+"/") {
			return false
		}
		var r record
		if json.Unmarshal(e.value, &r) == nil && !r.Deleted {
			found = append(found, r)
		}
		return true
	})
	return found
}

func (s *store) allRecords() []record {
	var found []record
	s.journal.ascend(recordsBucket, "", func(e entry) bool {
		var r record
		if json.Unmarshal(e.value, &r) == nil {
			found = append(found, r)
		}
		return true
	})
	return found
}

func (s *store) record(kind, id string) (r record, ok bool) {
	text := s.journal.get(recordsBucket, record{Kind: kind, ID: id}.key())
	if text == nil || json.Unmarshal(text, &r) != nil {
		return record{}, false
	}
	return r, true
}

// table returns the configuration of a table that exists.
func (s *store) table(id string) (tableRecord, record, bool) {
	r, ok := s.record(kindTable, id)
	if !ok || r.Deleted {
		return tableRecord{}, r, false
	}
	var t tableRecord
	err := json.Unmarshal(r.Value, &t)
	return t, r, err == nil
}

// names maps ids to names.
func (s *store) names(kind string) map[string]string {
	names := map[string]string{}
	for _, r := range s.records(kind) {
		var named struct{ Name string }
		if json.Unmarshal(r.Value, &named) == nil {
			names[r.ID] = named.Name
		}
	}
	return names
}

// merge takes in what others know and returns what was new, durable by then.
func (s *store) merge(theirs []record) (news []record, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []change
	for _, r := range theirs {
		mine, known := s.record(r.Kind, r.ID)
		if known && !r.newerThan(mine) {
			continue
		}
		text, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		changes = append(changes, change{recordsBucket, entry{r.key(), text}})
		news = append(news, r)
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return news, s.journal.save(changes...)
}

// next is the record's next version with another value, or without one to delete it. Merging it makes it count.
func (s *store) next(kind, id string, value any) (record, error) {
	r, _ := s.record(kind, id)
	r = record{Kind: kind, ID: id, Version: r.Version + 1, Origin: s.serverID, Deleted: value == nil}
	var err error
	if value != nil {
		r.Value, err = json.Marshal(value)
	}
	return r, err
}

// byName are the ids that have the name: more than one after a merge of clusters.
func byName(names map[string]string, name string) (ids []string) {
	for _, id := range slices.Sorted(maps.Keys(names)) {
		if names[id] == name {
			ids = append(ids, id)
		}
	}
	return ids
}
