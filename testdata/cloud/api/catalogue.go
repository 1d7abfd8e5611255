package api

import (
	"net/http"
	"slices"
)

type size struct {
	Slug         string   `json:"slug"`
	Memory       int      `json:"memory"`
	Vcpus        int      `json:"vcpus"`
	Disk         int      `json:"disk"`
	PriceMonthly float64  `json:"price_monthly"`
	PriceHourly  float64  `json:"price_hourly"`
	Regions      []string `json:"regions"`
	Available    bool     `json:"available"`
}

type region struct {
	Slug      string   `json:"slug"`
	Name      string   `json:"name"`
	Sizes     []string `json:"sizes"`
	Available bool     `json:"available"`
	Features  []string `json:"features"`
}

type image struct {
	ID           int      `json:"id"`
	Name         string   `json:"name"`
	Distribution string   `json:"distribution"`
	Slug         string   `json:"slug"`
	Public       bool     `json:"public"`
	Regions      []string `json:"regions"`
	MinDiskSize  int      `json:"min_disk_size"`
	Status       string   `json:"status"`
}

// sizes: the last is offered in one region alone.
func sizes() []size {
	everywhere := []string{"ams3", "fra1", "nyc3", "sgp1"}
	return []size{
		{"s-1vcpu-512mb-10gb", 512, 1, 10, 4, 0.00595, []string{"ams3", "fra1", "nyc3"}, true},
		{"s-1vcpu-1gb", 1024, 1, 25, 6, 0.00893, everywhere, true},
		{"s-2vcpu-2gb", 2048, 2, 60, 18, 0.02679, everywhere, true},
		{"s-4vcpu-8gb", 8192, 4, 160, 48, 0.07143, []string{"nyc3"}, true},
	}
}

func regions() []region {
	var all []region
	for _, r := range []struct {
		slug, name string
		open       bool
	}{{"ams2", "Amsterdam 2", false}, {"ams3", "Amsterdam 3", true}, {"fra1", "Frankfurt 1", true}, {"nyc3", "New York 3", true}, {"sgp1", "Singapore 1", true}} {
		one := region{Slug: r.slug, Name: r.name, Available: r.open, Sizes: []string{}, Features: []string{"metadata"}}
		for _, s := range sizes() {
			if slices.Contains(s.Regions, r.slug) {
				one.Sizes = append(one.Sizes, s.Slug)
			}
		}
		all = append(all, one)
	}
	return all
}

func images() []image {
	everywhere := []string{"ams3", "fra1", "nyc3", "sgp1"}
	return []image{
		{101, "24.04 (LTS) x64", "Ubuntu", "ubuntu-24-04-x64", true, everywhere, 7, "available"},
		{102, "22.04 (LTS) x64", "Ubuntu", "ubuntu-22-04-x64", true, everywhere, 7, "available"},
		{103, "12 x64", "Debian", "debian-12-x64", true, everywhere, 7, "available"},
		{104, "Large", "Ubuntu", "ubuntu-large-x64", true, []string{"nyc3"}, 50, "available"},
	}
}

func (c *Cloud) listRegions(w http.ResponseWriter, r *http.Request) { page(w, r, "regions", regions()) }
func (c *Cloud) listSizes(w http.ResponseWriter, r *http.Request)   { page(w, r, "sizes", sizes()) }
func (c *Cloud) listImages(w http.ResponseWriter, r *http.Request)  { page(w, r, "images", images()) }

func (c *Cloud) getImage(w http.ResponseWriter, r *http.Request) {
	for _, i := range images() {
		if i.Slug == r.PathValue("image") {
			answer(w, http.StatusOK, map[string]image{"image": i})
			return
		}
	}
	missing(w)
}

func (c *Cloud) getAccount(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"account": map[string]any{
		"droplet_limit": c.limit(), "email": "somebody@example.com", "status": "active", "email_verified": true,
	}})
}
