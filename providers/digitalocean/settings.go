package digitalocean

import (
	"cmp"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"skep/usage"
)

// What docker-machine's driver takes where nothing is said, but for the image
// and the size: its own are gone, or too small.
const (
	defaultRegion = "nyc3"
	defaultSize   = "s-1vcpu-1gb"
	defaultImage  = "ubuntu-24-04-x64"
)

// settings are docker-machine's variables.
type settings struct {
	region, size, image string
	fingerprint         string // of one more key of the account that droplets admit
	keyPath             string // private key to use in place of skep's own
	user, port          string
	tags                []string
	userdata            string // content of the user's own file
	ipv6, backups       bool
	monitoring, private bool
}

func readSettings() (settings, error) {
	get := func(name string) string { return os.Getenv("DIGITALOCEAN_" + name) }
	s := settings{
		region: cmp.Or(get("REGION"), defaultRegion), size: cmp.Or(get("SIZE"), defaultSize),
		image: cmp.Or(get("IMAGE"), defaultImage), fingerprint: get("SSH_KEY_FINGERPRINT"),
		user: cmp.Or(get("SSH_USER"), "root"), port: cmp.Or(get("SSH_PORT"), "22"),
	}
	if path := get("SSH_KEY_PATH"); path != "" {
		if rest, home := strings.CutPrefix(path, "~/"); home {
			user, err := os.UserHomeDir()
			if err != nil {
				return s, err
			}
			path = filepath.Join(user, rest)
		}
		s.keyPath = path
	}
	for tag := range strings.SplitSeq(get("TAGS"), ",") {
		tag = strings.TrimSpace(tag)
		if strings.HasPrefix(tag, tagPrefix) {
			return s, usage.Errorf("DIGITALOCEAN_TAGS: %s is a tag of skep's own", tag)
		}
		if tag != "" {
			s.tags = append(s.tags, tag)
		}
	}
	if n, err := strconv.ParseUint(s.port, 10, 16); err != nil || n == 0 {
		return s, usage.Errorf("DIGITALOCEAN_SSH_PORT=%s is no port", s.port)
	}
	for name, value := range map[string]*bool{
		"IPV6": &s.ipv6, "BACKUPS": &s.backups, "MONITORING": &s.monitoring, "PRIVATE_NETWORKING": &s.private,
	} {
		given := get(name)
		if given == "" {
			continue
		}
		on, err := strconv.ParseBool(given)
		if err != nil {
			return s, usage.Errorf("DIGITALOCEAN_%s=%s: say true or false", name, given)
		}
		*value = on
	}
	return s, nil
}

// readUserdata reads the user's own file of first boot, of which any form that
// cloud-init knows by its first line will do.
func (s *settings) readUserdata() error {
	file := os.Getenv("DIGITALOCEAN_USERDATA")
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return usage.Errorf("DIGITALOCEAN_USERDATA: %v", err)
	}
	s.userdata = string(text)
	if kind(s.userdata) == "" {
		return usage.Errorf("DIGITALOCEAN_USERDATA: %s starts neither with #! nor with #cloud-config (it is %s)",
			file, http.DetectContentType(text))
	}
	return nil
}

// kind is the media type of a part of user data, "" where it has none.
func kind(userdata string) string {
	switch {
	case strings.HasPrefix(userdata, "#!"):
		return "text/x-shellscript"
	case strings.HasPrefix(userdata, "#cloud-config"):
		return "text/cloud-config"
	}
	return ""
}
