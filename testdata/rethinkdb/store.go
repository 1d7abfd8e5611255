package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// store is the data directory. It is locked while the server runs.
type store struct {
	dir      string
	lock     *os.File
	serverID string
	journal  *journal

	mu sync.Mutex // one merge of records at a time
}

// identity is what a server is known by.
type identity struct {
	ServerID string
	Name     string
}

const (
	selfBucket = "self"
	selfKey    = "server_id"
	admin      = "admin"
)

// openStore makes a new directory, or an empty one, into a server: with the given name and, unless it joins others, a
// database `test` of its own. The real server looks at --join only, not at whether the join came off: one that was
// started with --join never makes a `test`, not even when it dropped every peer as itself and runs alone.
func openStore(config *config, logger *log.Logger) (*store, error) {
	dir, err := filepath.Abs(config.directory)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("directory %s is in use by another rethinkdb process", dir), lock.Close())
	}
	s := &store{dir: dir, lock: lock}
	if err := s.open(config, logger); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *store) open(config *config, logger *log.Logger) error {
	entries, err := s.lock.ReadDir(-1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	isJournal := func(e os.DirEntry) bool { return e.Name() == journalFile || e.Name() == journalFile+".new" }
	if len(entries) > 0 && !slices.ContainsFunc(entries, isJournal) {
		return fmt.Errorf("directory %s is not empty, but holds no data of a server", s.dir)
	}
	if s.journal, err = openJournal(s.dir); err != nil {
		return err
	}
	// A server that was killed before its first write ended has nothing in its journal.
	if s.serverID = string(s.journal.get(selfBucket, selfKey)); s.serverID == "" {
		logger.Printf("Initializing directory %s", s.dir)
		return s.initialize(config)
	}
	if config.nameGiven {
		logger.Print("WARNING: ignoring --server-name because this server already has a name.")
	}
	return s.setInitialPassword(config, logger)
}

func (s *store) initialize(config *config) error {
	s.serverID = newUUID()
	self, err := s.next(kindServer, s.serverID, serverRecord{config.name, config.tags})
	if err != nil {
		return err
	}
	all := []record{self}
	if len(config.joins) == 0 {
		test, err := s.next(kindDatabase, newUUID(), databaseRecord{"test"})
		if err != nil {
			return err
		}
		all = append(all, test)
	}
	if config.password != "" {
		user, err := s.adminRecord(config)
		if err != nil {
			return err
		}
		all = append(all, user)
	}
	changes := []change{{selfBucket, entry{selfKey, []byte(s.serverID)}}}
	for _, r := range all {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		changes = append(changes, change{recordsBucket, entry{r.key(), text}})
	}
	return s.journal.save(changes...)
}

// adminRecord has the password of the command line. A generated one gives way to any other when clusters merge.
func (s *store) adminRecord(config *config) (record, error) {
	user, err := s.next(kindUser, admin, newCredentials(config.password))
	if config.generated {
		user.Version = 0
	}
	return user, err
}

// setInitialPassword sets one where none is: that which is there stays, whatever the options say.
func (s *store) setInitialPassword(config *config, logger *log.Logger) error {
	if config.password == "" {
		return nil
	}
	if s.hasPassword() {
		logger.Print("Ignoring --initial-password option because the admin password is already configured.")
		return nil
	}
	user, err := s.adminRecord(config)
	if err != nil {
		return err
	}
	_, err = s.merge([]record{user})
	return err
}

func (s *store) close() error {
	return errors.Join(s.journal.close(), s.lock.Close())
}

func (s *store) identity() identity {
	return identity{s.serverID, s.server(s.serverID).Name}
}

// server is what is known of one, also when it is not connected.
func (s *store) server(id string) (known serverRecord) {
	if r, ok := s.record(kindServer, id); ok {
		_ = json.Unmarshal(r.Value, &known) // it was made by this program
	}
	return known
}

// credentials are those of the user admin; without a password none were ever set.
func (s *store) credentials() credentials {
	if r, ok := s.record(kindUser, admin); ok {
		var c credentials
		if json.Unmarshal(r.Value, &c) == nil {
			return c
		}
	}
	return newCredentials("")
}

func (s *store) hasPassword() bool { return s.credentials().HasPassword }

// collisions are the names that more than one id has, sorted.
func collisions(names map[string]string) []string {
	count := map[string]int{}
	for _, name := range names {
		count[name]++
	}
	var twice []string
	for name, n := range count {
		if n > 1 {
			twice = append(twice, name)
		}
	}
	slices.Sort(twice)
	return twice
}

// newUUID is a random one, RFC 9562 version 4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, says its documentation
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
