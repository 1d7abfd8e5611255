package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// journal keeps buckets of sorted keys in memory and every change to them in a file, of which a crash can cut off only
// what was not yet acknowledged. The file is rewritten without what was overwritten when it is opened, at no other time.
type journal struct {
	mu      sync.RWMutex
	file    *os.File
	buckets map[string]*bucket
	written uint64 // frames
	failed  error  // nothing is written after a failure: what is in the file then is not known

	syncing sync.Mutex
	synced  uint64
}

// entry is a key and its value. A change whose value is nil removes the key; one whose key is empty, the bucket.
type entry struct {
	key   string
	value []byte
}

type change struct {
	bucket string
	entry
}

const journalFile = "journal"

func openJournal(dir string) (*journal, error) {
	j := &journal{buckets: map[string]*bucket{}}
	path := filepath.Join(dir, journalFile)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	j.replay(text)
	var live bytes.Buffer
	for name, bucket := range j.buckets {
		var changes []change
		bucket.order()
		bucket.ascend("", func(e entry) bool {
			changes = append(changes, change{name, e})
			return true
		})
		live.Write(frame(changes))
	}
	// A new file also loses the torn end of the old one.
	if err := replaceFile(path, live.Bytes()); err != nil {
		return nil, err
	}
	j.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
	return j, err
}

// replaceFile is there whole or not at all, also after a crash.
func replaceFile(path string, content []byte) error {
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (j *journal) close() error { return j.file.Close() }

// frame is a length, a checksum, and the changes, which count all together or not at all.
func frame(changes []change) []byte {
	b := make([]byte, 8)
	for _, c := range changes {
		for _, part := range [][]byte{[]byte(c.bucket), []byte(c.key)} {
			b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
		}
		if c.value == nil {
			b = binary.AppendUvarint(b, 0)
			continue
		}
		b = append(binary.AppendUvarint(b, uint64(len(c.value))+1), c.value...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-8))
	binary.LittleEndian.PutUint32(b[4:], crc32.ChecksumIEEE(b[8:]))
	return b
}

// replay stops at the first frame that is not whole.
func (j *journal) replay(text []byte) {
	for len(text) >= 8 {
		size := binary.LittleEndian.Uint32(text)
		if uint64(len(text)) < 8+uint64(size) {
			return
		}
		body := text[8 : 8+size]
		if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(text[4:]) {
			return
		}
		changes, err := readChanges(bytes.NewReader(body))
		if err != nil {
			return
		}
		j.apply(changes)
		text = text[8+size:]
	}
}

func readChanges(r *bytes.Reader) (changes []change, err error) {
	read := func(less uint64) []byte {
		size, e := binary.ReadUvarint(r)
		if e != nil || size < less || size-less > uint64(r.Len()) {
			err = io.ErrUnexpectedEOF
			return nil
		}
		b := make([]byte, size-less)
		_, _ = io.ReadFull(r, b) // there are as many
		return b
	}
	for r.Len() > 0 && err == nil {
		var c change
		c.bucket, c.key = string(read(0)), string(read(0))
		if next, _ := r.ReadByte(); next != 0 { // of the value's length
			if e := r.UnreadByte(); e != nil {
				return nil, e
			}
			c.value = read(1)
		}
		changes = append(changes, c)
	}
	return changes, err
}

func (j *journal) apply(changes []change) {
	for _, c := range changes {
		bucket := j.buckets[c.bucket]
		switch {
		case c.key == "":
			delete(j.buckets, c.bucket)
		case c.value == nil && bucket != nil:
			bucket.delete(c.key)
		case c.value != nil:
			if bucket == nil {
				bucket = newBucket()
				j.buckets[c.bucket] = bucket
			}
			bucket.put(c.key, c.value)
		}
	}
}

// put makes changes, which others see at once. They are durable when sync has returned.
func (j *journal) put(changes ...change) (position uint64, err error) {
	b := frame(changes)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return 0, j.failed
	}
	if _, err := j.file.Write(b); err != nil {
		j.failed = fmt.Errorf("write to %s: %w", journalFile, err)
		return 0, j.failed
	}
	j.apply(changes)
	j.written++
	return j.written, nil
}

func (j *journal) position() uint64 {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.written
}

// sync returns when all up to the position is on disk. Those who wait at the same time share one fsync.
func (j *journal) sync(position uint64) error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if j.synced >= position {
		return nil
	}
	j.mu.RLock()
	upTo, err := j.written, j.failed
	j.mu.RUnlock()
	if err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.failed = fmt.Errorf("sync %s: %w", journalFile, err)
		return j.failed
	}
	j.synced = upTo
	return nil
}

func (j *journal) save(changes ...change) error {
	position, err := j.put(changes...)
	if err != nil {
		return err
	}
	return j.sync(position)
}

func (j *journal) get(bucket, key string) []byte {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if b := j.buckets[bucket]; b != nil {
		return b.values[key]
	}
	return nil
}

// ascend goes through the keys from one on, until each says no. It holds up writers meanwhile.
func (j *journal) ascend(bucket, from string, each func(entry) bool) {
	j.mu.RLock()
	b := j.buckets[bucket]
	if b != nil && !b.inOrder() {
		j.mu.RUnlock()
		j.mu.Lock()
		defer j.mu.Unlock()
		b.order()
	} else {
		defer j.mu.RUnlock()
	}
	if b != nil {
		b.ascend(from, each)
	}
}
