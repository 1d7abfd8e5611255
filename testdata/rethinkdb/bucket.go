package main

import "slices"

// bucket is a map that can be gone through in order. What was added since the last time is sorted in only then.
type bucket struct {
	values map[string][]byte
	keys   []string // sorted; some may have been deleted since
	fresh  []string // not in keys yet
}

func newBucket() *bucket { return &bucket{values: map[string][]byte{}} }

func (b *bucket) put(key string, value []byte) {
	if _, known := b.values[key]; !known {
		b.fresh = append(b.fresh, key)
	}
	b.values[key] = value
}

func (b *bucket) delete(key string) { delete(b.values, key) }

// inOrder tells whether ascend may be called.
func (b *bucket) inOrder() bool { return len(b.fresh) == 0 }

func (b *bucket) order() {
	slices.Sort(b.fresh)
	merged := make([]string, 0, len(b.keys)+len(b.fresh))
	for i, j := 0, 0; i < len(b.keys) || j < len(b.fresh); {
		var key string
		if j == len(b.fresh) || i < len(b.keys) && b.keys[i] <= b.fresh[j] {
			key = b.keys[i]
			i++
		} else {
			key = b.fresh[j]
			j++
		}
		// A key that was deleted and came back is in both.
		if _, known := b.values[key]; known && (len(merged) == 0 || merged[len(merged)-1] != key) {
			merged = append(merged, key)
		}
	}
	b.keys, b.fresh = merged, nil
}

func (b *bucket) ascend(from string, each func(entry) bool) {
	first, _ := slices.BinarySearch(b.keys, from)
	for _, key := range b.keys[first:] {
		if value, known := b.values[key]; known && !each(entry{key, value}) {
			return
		}
	}
}
