package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// json is a droplet as the API tells it.
func (d *droplet) json() map[string]any {
	v4 := []map[string]string{}
	if d.address != "" && d.status != "new" {
		v4 = append(v4,
			map[string]string{"ip_address": d.address, "type": "public", "netmask": "255.255.255.0"},
			map[string]string{"ip_address": d.private(), "type": "private", "netmask": "255.255.0.0"})
	}
	i := slices.IndexFunc(sizes(), func(s size) bool { return s.Slug == d.size })
	return map[string]any{
		"id": d.id, "name": d.name, "status": d.status, "size_slug": d.size, "size": sizes()[i],
		"region": map[string]any{"slug": d.region, "name": d.region}, "image": map[string]any{"slug": d.image},
		"tags": append([]string{}, d.tags...), "created_at": d.created.UTC().Format(time.RFC3339),
		"networks": map[string]any{"v4": v4, "v6": []string{}}, "features": append([]string{}, d.features...),
		"volume_ids": []string{},
	}
}

// private is the address of a real droplet itself: it has one network.
func (d *droplet) private() string {
	if d.real && !strings.HasPrefix(d.address, "203.0.113.") {
		return d.address
	}
	return fmt.Sprintf("10.110.0.%d", d.id%250+1)
}

// listDroplets lags: what is new is not there yet, and what is gone still is.
func (c *Cloud) listDroplets(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tag := r.URL.Query().Get("tag_name")
	var all []map[string]any
	for _, id := range slices.Sorted(maps.Keys(c.droplets)) {
		d := c.droplets[id]
		if time.Now().Before(d.listed) || tag != "" && !slices.Contains(d.tags, tag) {
			continue
		}
		all = append(all, d.json())
	}
	page(w, r, "droplets", all)
}

type creation struct {
	Name       string
	Names      []string
	Region     string
	Size       string
	Image      json.RawMessage
	SSHKeys    []json.RawMessage `json:"ssh_keys"`
	Backups    bool
	IPv6       bool
	Monitoring bool
	UserData   string `json:"user_data"`
	Tags       []string
}

func (c *Cloud) createDroplets(w http.ResponseWriter, r *http.Request) {
	var body creation
	if !read(w, r, &body) {
		return
	}
	if body.Name != "" {
		body.Names = []string{body.Name}
	}
	c.mu.Lock()
	slow := c.faults.SlowAdd.real()
	c.mu.Unlock()
	if slow > 0 { // whoever asked may be gone by then: it is done all the same
		timer := time.NewTimer(slow)
		<-timer.C
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	keys, wrong := c.checkCreation(body)
	if wrong != "" {
		unprocessable(w, wrong)
		return
	}
	var made []map[string]any
	for _, name := range body.Names {
		made = append(made, c.add(name, body, keys).json())
	}
	switch {
	case take(&c.faults.CutCreates):
		panic(http.ErrAbortHandler)
	case take(&c.faults.BadGateway):
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("<html>Bad Gateway</html>"))
	case body.Name != "":
		answer(w, http.StatusAccepted, map[string]any{"droplet": made[0]})
	default:
		answer(w, http.StatusAccepted, map[string]any{"droplets": made})
	}
}

// checkCreation returns the keys' lines, or why the call is refused.
func (c *Cloud) checkCreation(b creation) (keys, wrong string) {
	for _, raw := range b.SSHKeys {
		k, there := c.findKey(strings.Trim(string(raw), `"`))
		if !there {
			return "", string(raw) + " are invalid key identifiers for Droplet creation."
		}
		keys += k.PublicKey + "\n"
	}
	for _, tag := range b.Tags {
		if !validTag.MatchString(tag) {
			return "", "tag name " + tag + " is invalid"
		}
	}
	slug := strings.Trim(string(b.Image), `"`)
	at := slices.IndexFunc(regions(), func(r region) bool { return r.Slug == b.Region && r.Available })
	switch {
	case len(b.Names) == 0 || len(b.Names) > 10:
		return "", "You can create up to 10 Droplets at a time"
	case at < 0:
		return "", "You specified an invalid region for Droplet creation."
	case !slices.ContainsFunc(sizes(), func(s size) bool { return s.Slug == b.Size }):
		return "", "You specified an invalid size for Droplet creation."
	case !slices.Contains(regions()[at].Sizes, b.Size):
		return "", "Size is not available in this region."
	case !slices.ContainsFunc(images(), func(i image) bool { return i.Slug == slug || strconv.Itoa(i.ID) == slug }):
		return "", "You specified an invalid image for Droplet creation."
	case len(b.UserData) > 64<<10:
		return "", "User data is too long (maximum is 64 KiB)"
	case len(c.droplets)+len(b.Names) > c.limit():
		return "", "creating this/these droplet(s) will exceed your droplet limit"
	}
	return keys, ""
}

func (c *Cloud) add(name string, b creation, keys string) *droplet {
	for _, d := range c.droplets {
		if d.name == name && !d.going {
			c.twins[name] = true
		}
	}
	c.lastID++
	c.made++
	c.userData[b.UserData] = true
	d := &droplet{
		id: c.lastID, name: name, region: b.Region, size: b.Size, image: strings.Trim(string(b.Image), `"`),
		tags: slices.Clone(b.Tags), keys: keys, userData: b.UserData, status: "new",
		created: time.Now(), listed: time.Now().Add(c.faults.Lag.real()),
	}
	for feature, on := range map[string]bool{"backups": b.Backups, "ipv6": b.IPv6, "monitoring": b.Monitoring} {
		if on {
			d.features = append(d.features, feature)
		}
	}
	for _, tag := range b.Tags {
		c.tags[tag] = true
	}
	c.droplets[d.id] = d
	c.boot(d)
	return d
}

// find is the droplet that a call names, if there is one still.
func (c *Cloud) find(r *http.Request) *droplet {
	id, _ := strconv.Atoi(r.PathValue("id"))
	d := c.droplets[id]
	if d == nil || !d.hidden.IsZero() {
		return nil
	}
	return d
}

func (c *Cloud) getDroplet(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.find(r)
	if d == nil {
		missing(w)
		return
	}
	answer(w, http.StatusOK, map[string]any{"droplet": d.json()})
}

func (c *Cloud) deleteDroplet(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.find(r)
	switch {
	case d == nil:
		missing(w)
	case d.status == "new" && time.Since(d.created) < c.faults.Boot.real():
		unprocessable(w, "Droplet already has a pending event.")
	default:
		c.remove(d)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (c *Cloud) deleteByTag(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tag := r.URL.Query().Get("tag_name")
	if tag == "" {
		refuse(w, http.StatusBadRequest, "bad_request", "tag_name is required")
		return
	}
	for _, d := range c.droplets {
		if slices.Contains(d.tags, tag) {
			c.remove(d)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c *Cloud) act(w http.ResponseWriter, r *http.Request) {
	var body struct{ Type string }
	if !read(w, r, &body) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.find(r)
	switch {
	case d == nil:
		missing(w)
		return
	case d.busy || d.status == "new":
		unprocessable(w, "Droplet already has a pending event.")
		return
	case body.Type == "power_on" && d.status == "active", body.Type != "power_on" && d.status == "off":
		unprocessable(w, "Droplet is already in that state.")
		return
	}
	c.lastID++
	answer(w, http.StatusCreated, map[string]any{"action": map[string]any{
		"id": c.lastID, "status": "in-progress", "type": body.Type, "resource_id": d.id, "resource_type": "droplet",
	}})
	if body.Type == "shutdown" && c.faults.Deaf {
		return
	}
	d.busy = true
	c.after(0, func() { c.switched(d, body.Type) })
}

// switched carries an action out.
func (c *Cloud) switched(d *droplet, action string) {
	var err error
	if c.hosts != nil {
		if action == "power_on" {
			err = c.hosts.Start(c.ending, fmt.Sprint(d.id))
		} else {
			err = c.hosts.Stop(c.ending, fmt.Sprint(d.id))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d.busy = false
	switch {
	case err != nil:
		fmt.Println(action, d.name, err)
	case action == "power_on":
		d.status = "active"
	default:
		d.status = "off"
	}
}
