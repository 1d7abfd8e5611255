package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// store is the data directory. It is locked while the server runs.
type store struct {
	dir  string
	lock *os.File

	mu   sync.Mutex
	data metadata
}

type metadata struct {
	identity
	Password  string            // of the user admin, "" for none
	Databases map[string]string // the name of each, by its id
}

// identity is what a server keeps for good once its directory exists.
type identity struct {
	ServerID string
	Name     string
	Tags     []string
}

const metadataFile = "metadata"

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
	entries, err := lock.ReadDir(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, lock.Close())
	}
	s := &store{dir: dir, lock: lock}
	if len(entries) > 0 {
		err = s.load(config, logger)
	} else {
		logger.Printf("Initializing directory %s", dir)
		err = s.initialize(config)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *store) initialize(config *config) error {
	s.data = metadata{
		identity:  identity{ServerID: newUUID(), Name: config.name, Tags: config.tags},
		Password:  config.password,
		Databases: map[string]string{},
	}
	if len(config.joins) == 0 {
		s.data.Databases[newUUID()] = "test"
	}
	return s.save()
}

// load keeps the name and the password that are there already, whatever the options say.
func (s *store) load(config *config, logger *log.Logger) error {
	text, err := os.ReadFile(filepath.Join(s.dir, metadataFile))
	if err != nil {
		return fmt.Errorf("directory %s is not empty, but holds no data of a server: %w", s.dir, err)
	}
	if err := json.Unmarshal(text, &s.data); err != nil {
		return fmt.Errorf("%s: %w", metadataFile, err)
	}
	if config.nameGiven {
		logger.Print("WARNING: ignoring --server-name because this server already has a name.")
	}
	if config.password == "" {
		return nil
	}
	if s.data.Password != "" {
		logger.Print("Ignoring --initial-password option because the admin password is already configured.")
		return nil
	}
	s.data.Password = config.password
	return s.save()
}

// save is called with mu held, or before anyone else knows the store.
func (s *store) save() error {
	text, err := json.MarshalIndent(s.data, "", "\t")
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, metadataFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *store) close() { s.lock.Close() }

func (s *store) identity() identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.identity
}

func (s *store) hasPassword() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.Password != ""
}

func (s *store) databases() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.data.Databases)
}

// merge adds the databases of another server and tells whether there were new ones. The union is all that happens: two
// databases of one name stay two.
func (s *store) merge(theirs map[string]string) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, name := range theirs {
		if _, known := s.data.Databases[id]; !known {
			s.data.Databases[id], changed = name, true
		}
	}
	if changed {
		err = s.save()
	}
	return changed, err
}

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
