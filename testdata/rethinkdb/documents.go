package main

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
)

// document is one version of what a table has under a key. JSON is empty for one that was deleted: the version stays, so
// that a server that missed the deletion does not bring the document back.
type document struct {
	Key  string
	At   stamp
	JSON []byte
}

// stamp orders the writes of a document: the leader's epoch, and its count within.
type stamp struct{ Epoch, Seq uint64 }

func (s stamp) compare(other stamp) int {
	return cmp.Or(cmp.Compare(s.Epoch, other.Epoch), cmp.Compare(s.Seq, other.Seq))
}

func documentsOf(table string) string { return "table/" + table }

func (d document) change(table string) change {
	value := binary.BigEndian.AppendUint64(nil, d.At.Epoch)
	value = binary.BigEndian.AppendUint64(value, d.At.Seq)
	return change{documentsOf(table), entry{d.Key, append(value, d.JSON...)}}
}

func documentOf(e entry) document {
	return document{
		Key:  e.key,
		At:   stamp{binary.BigEndian.Uint64(e.value), binary.BigEndian.Uint64(e.value[8:])},
		JSON: e.value[16:],
	}
}

func (s *store) document(table, key string) (document, bool) {
	value := s.journal.get(documentsOf(table), key)
	if value == nil {
		return document{}, false
	}
	return documentOf(entry{key, value}), true
}

// documents goes through those that are not deleted.
func (s *store) documents(table, from string, each func(document) bool) {
	s.journal.ascend(documentsOf(table), from, func(e entry) bool {
		d := documentOf(e)
		return len(d.JSON) == 0 || each(d)
	})
}

// putDocuments keeps those that are newer than what is there.
func (s *store) putDocuments(table string, documents []document) (position uint64, err error) {
	var changes []change
	for _, d := range documents {
		if mine, ok := s.document(table, d.Key); !ok || d.At.compare(mine.At) > 0 {
			changes = append(changes, d.change(table))
		}
	}
	if len(changes) == 0 {
		// What is there already may not be on disk yet.
		return s.journal.position(), nil
	}
	return s.journal.put(changes...)
}

// slots is into how many parts a table's documents are divided to find where two copies differ.
const slots = 1024

func slotOf(key string) uint64 {
	hash := fnv.New64a()
	hash.Write([]byte(key))
	return hash.Sum64() % slots
}

// digest has for each slot a number that is the same where the same versions of the same documents are.
func (s *store) digest(table string) []uint64 {
	digest := make([]uint64, slots)
	s.journal.ascend(documentsOf(table), "", func(e entry) bool {
		hash := fnv.New64a()
		hash.Write([]byte(e.key))
		slot := hash.Sum64() % slots
		hash.Write(e.value[:16])
		digest[slot] += hash.Sum64()
		return true
	})
	return digest
}

// inSlots returns all documents of these slots, the deleted ones too.
func (s *store) inSlots(table string, wanted []uint64) []document {
	var in [slots]bool
	for _, slot := range wanted {
		in[slot%slots] = true
	}
	var found []document
	s.journal.ascend(documentsOf(table), "", func(e entry) bool {
		if in[slotOf(e.key)] {
			found = append(found, documentOf(e))
		}
		return true
	})
	return found
}
