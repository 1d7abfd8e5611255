package api

import (
	"crypto/md5"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

var validTag = regexp.MustCompile(`^[A-Za-z0-9:_-]{1,255}$`)

// tag makes a tag if there is none.
func (c *Cloud) tag(name string) error {
	if !validTag.MatchString(name) {
		return fmt.Errorf("tag name %q is invalid", name)
	}
	c.tags[name] = true
	return nil
}

func (c *Cloud) tagged(name string) map[string]any {
	n := 0
	for _, d := range c.droplets {
		if slices.Contains(d.tags, name) {
			n++
		}
	}
	return map[string]any{"name": name, "resources": map[string]any{"count": n, "droplets": map[string]int{"count": n}}}
}

func (c *Cloud) listTags(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []map[string]any
	for _, name := range slices.Sorted(maps.Keys(c.tags)) {
		all = append(all, c.tagged(name))
	}
	page(w, r, "tags", all)
}

func (c *Cloud) getTag(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.tags[r.PathValue("tag")] {
		missing(w)
		return
	}
	answer(w, http.StatusOK, map[string]any{"tag": c.tagged(r.PathValue("tag"))})
}

func (c *Cloud) createTag(w http.ResponseWriter, r *http.Request) {
	var t struct{ Name string }
	if !read(w, r, &t) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.tag(t.Name); err != nil {
		unprocessable(w, err.Error())
		return
	}
	answer(w, http.StatusCreated, map[string]any{"tag": c.tagged(t.Name)})
}

func (c *Cloud) deleteTag(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := r.PathValue("tag")
	if !c.tags[name] {
		missing(w)
		return
	}
	delete(c.tags, name)
	for _, d := range c.droplets {
		d.tags = slices.DeleteFunc(d.tags, func(t string) bool { return t == name })
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c *Cloud) tagResources(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Resources []struct {
			ID   string `json:"resource_id"`
			Type string `json:"resource_type"`
		}
	}
	if !read(w, r, &body) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := r.PathValue("tag")
	if !c.tags[name] {
		missing(w)
		return
	}
	for _, resource := range body.Resources {
		id, _ := strconv.Atoi(resource.ID)
		d := c.droplets[id]
		if d == nil || resource.Type != "droplet" {
			missing(w)
			return
		}
		if !slices.Contains(d.tags, name) {
			d.tags = append(d.tags, name)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

var errInUse = errors.New("SSH Key is already in use on your account")

func (c *Cloud) addKey(name, public string) (key, error) {
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		return key{}, errors.New("key invalid, key should be of the format `type key [comment]`")
	}
	sum := md5.Sum(parsed.Marshal())
	parts := make([]string, 0, len(sum))
	for _, b := range sum {
		parts = append(parts, fmt.Sprintf("%02x", b))
	}
	k := key{Name: name, Fingerprint: strings.Join(parts, ":"), PublicKey: strings.TrimSpace(public)}
	if _, there := c.findKey(k.Fingerprint); there {
		return key{}, errInUse
	}
	c.lastID++
	k.ID = c.lastID
	c.keys[k.ID] = k
	return k, nil
}

// findKey finds one by number or fingerprint.
func (c *Cloud) findKey(by string) (key, bool) {
	for _, k := range c.keys {
		if k.Fingerprint == by || strconv.Itoa(k.ID) == by {
			return k, true
		}
	}
	return key{}, false
}

func (c *Cloud) listKeys(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []key
	for _, id := range slices.Sorted(maps.Keys(c.keys)) {
		all = append(all, c.keys[id])
	}
	page(w, r, "ssh_keys", all)
}

func (c *Cloud) createKey(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name      string
		PublicKey string `json:"public_key"`
	}
	if !read(w, r, &body) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, err := c.addKey(body.Name, body.PublicKey)
	if err != nil {
		unprocessable(w, err.Error())
		return
	}
	answer(w, http.StatusCreated, map[string]key{"ssh_key": k})
}

func (c *Cloud) getKey(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, there := c.findKey(r.PathValue("key"))
	if !there {
		missing(w)
		return
	}
	answer(w, http.StatusOK, map[string]key{"ssh_key": k})
}

func (c *Cloud) deleteKey(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, there := c.findKey(r.PathValue("key"))
	if !there {
		missing(w)
		return
	}
	delete(c.keys, k.ID)
	w.WriteHeader(http.StatusNoContent)
}
