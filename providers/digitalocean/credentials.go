package digitalocean

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"skep/providers"
	"skep/usage"

	"go.yaml.in/yaml/v4"
)

const officialAPI = "https://api.digitalocean.com/"

// credentials are a token and where it may be sent.
type credentials struct{ token, api string }

// findCredentials looks where users of DigitalOcean's own tools have theirs.
func findCredentials() (credentials, error) {
	c := credentials{
		token: cmp.Or(os.Getenv("DIGITALOCEAN_ACCESS_TOKEN"), os.Getenv("DIGITALOCEAN_TOKEN")),
		api:   os.Getenv("DIGITALOCEAN_API_URL"),
	}
	if c.token == "" {
		theirs, err := doctl()
		if err != nil {
			return c, err
		}
		c.token, c.api = theirs.token, cmp.Or(c.api, theirs.api)
	}
	if c.token == "" {
		return c, fmt.Errorf("no token of DigitalOcean: set DIGITALOCEAN_ACCESS_TOKEN, or run `doctl auth init`: %w", providers.ErrAbsent)
	}
	c.api = cmp.Or(c.api, officialAPI)
	return c, checkAPI(c.api)
}

// checkAPI refuses an address that would not be understood, or to which the
// token would travel in the clear.
func checkAPI(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return usage.Errorf("DIGITALOCEAN_API_URL is not the root of an API: it has the form %s", officialAPI)
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return usage.Errorf("DIGITALOCEAN_API_URL would send the token in the clear: use https")
	}
	return nil
}

// doctl reads the token of doctl's current context from its file.
func doctl() (credentials, error) {
	var c credentials
	folder, err := os.UserConfigDir()
	if err != nil {
		return c, nil // nobody's
	}
	file := filepath.Join(folder, "doctl", "config.yaml")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read doctl's file: %w", err)
	}
	var config struct {
		Token    string            `yaml:"access-token"`
		Context  string            `yaml:"context"`
		Contexts map[string]string `yaml:"auth-contexts"`
		API      string            `yaml:"api-url"`
	}
	if yaml.Unmarshal(text, &config) != nil { // its error would quote the file
		return c, fmt.Errorf("doctl's file %s cannot be read: it is no YAML of the form that doctl writes", file)
	}
	name := cmp.Or(os.Getenv("DIGITALOCEAN_CONTEXT"), config.Context, "default")
	if name == "default" {
		c.token = config.Token
	}
	c.token = cmp.Or(c.token, config.Contexts[name])
	c.api = config.API
	return c, nil
}
