package ssh

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"skep/tunnel"
	"skep/usage"

	"github.com/kevinburke/ssh_config"
)

// resolve is the way to a host, USER@ADDRESS[:PORT], that OpenSSH would take:
// what the name says comes before ~/.ssh/config, and that before the system's.
func resolve(host string, options map[string]string) (tunnel.Endpoint, error) {
	var none tunnel.Endpoint
	login, name, port, err := split(host)
	if err != nil {
		return none, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return none, fmt.Errorf("find ~/.ssh/config: %w", err)
	}
	c, err := readConfig(home, name)
	if err != nil {
		return none, err
	}
	for _, key := range []string{"ProxyJump", "ProxyCommand"} {
		if v := c.get(key); v != "" && v != "none" {
			return none, fmt.Errorf("host %s is reached through another one (%s %s in your SSH configuration): skep reaches hosts directly only", host, key, v)
		}
	}
	t := tokens{home: home, host: name}
	t.host = t.in(cmp.Or(c.get("HostName"), name))
	if t.local, err = localUser(); err != nil && login == "" && c.get("User") == "" {
		return none, fmt.Errorf("host %s: say with USER@ who logs in: %w", host, err)
	}
	t.remote = cmp.Or(login, c.get("User"), t.local)
	t.port = cmp.Or(port, c.get("Port"), "22")
	return tunnel.Endpoint{Address: net.JoinHostPort(t.host, t.port), User: t.remote, Login: c.login(t, options)}, nil
}

// split takes USER@ADDRESS[:PORT] apart. An IPv6 address with a port is in
// brackets.
func split(host string) (login, name, port string, err error) {
	wrong := usage.Errorf("--host %q is not USER@ADDRESS[:PORT]", host)
	rest := host
	if i := strings.LastIndex(host, "@"); i >= 0 {
		login, rest = host[:i], host[i+1:]
		if login == "" {
			return "", "", "", wrong
		}
	}
	name = rest
	if strings.HasPrefix(rest, "[") || strings.Count(rest, ":") == 1 {
		if name, port, err = net.SplitHostPort(rest); err != nil {
			var bare bool
			if name, bare = strings.CutSuffix(strings.TrimPrefix(rest, "["), "]"); !bare {
				return "", "", "", wrong
			}
			port = ""
		} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", "", "", wrong
		}
	}
	if name == "" || strings.ContainsAny(name, " /,'\"") || strings.HasPrefix(name, "-") {
		return "", "", "", wrong
	}
	return login, name, port, nil
}

func localUser() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	return u.Username[strings.LastIndex(u.Username, `\`)+1:], nil
}

// config is what the files say of one host, the user's before the system's.
type config struct {
	host  string
	files []*ssh_config.Config
}

func readConfig(home, host string) (config, error) {
	c := config{host: host}
	paths := []string{filepath.Join(home, ".ssh", "config")}
	if runtime.GOOS != "windows" {
		paths = append(paths, "/etc/ssh/ssh_config")
	}
	for i, path := range paths {
		file, err := decode(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), err != nil && i > 0: // the system's is there for more than skep knows
			continue
		case err != nil:
			return c, fmt.Errorf("read %s: %w", path, err)
		}
		c.files = append(c.files, file)
	}
	return c, nil
}

func decode(path string) (*ssh_config.Config, error) {
	text, err := os.ReadFile(path) // #nosec G304 -- OpenSSH's own files
	if err != nil {
		return nil, err
	}
	return ssh_config.DecodeBytes(text)
}

func (c config) get(key string) string {
	for _, f := range c.files {
		if v, err := f.Get(c.host, key); err == nil && v != "" {
			return unquote(v)
		}
	}
	return ""
}

func (c config) all(key string) []string {
	var all []string
	for _, f := range c.files {
		values, _ := f.GetAll(c.host, key)
		for _, v := range values {
			all = append(all, unquote(v))
		}
	}
	return all
}

func unquote(v string) string { return strings.Trim(strings.TrimSpace(v), `"`) }

// login is the user's keys and known hosts. The agent is asked each time that a
// connection is made.
func (c config) login(t tokens, options map[string]string) *tunnel.Login {
	l := &tunnel.Login{KeysOnly: strings.EqualFold(c.get("IdentitiesOnly"), "yes"), HostAlias: net.JoinHostPort(t.host, t.port)}
	if alias := c.get("HostKeyAlias"); alias != "" {
		l.HostAlias = net.JoinHostPort(t.in(alias), "22")
	}
	if file := options[optionIdentity]; file != "" {
		l.Keys = append(l.Keys, t.path(file))
	}
	files := c.all("IdentityFile")
	if len(files) == 0 {
		files = []string{"~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519", "~/.ssh/id_ed25519_sk"}
	}
	for _, file := range files {
		if file != "none" {
			l.Keys = append(l.Keys, t.path(file))
		}
	}
	for _, one := range []struct{ key, otherwise string }{
		{"UserKnownHostsFile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"},
		{"GlobalKnownHostsFile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"},
	} {
		for file := range strings.FieldsSeq(cmp.Or(c.get(one.key), one.otherwise)) {
			if file != "none" {
				l.KnownHosts = append(l.KnownHosts, t.path(unquote(file)))
			}
		}
	}
	switch agent := cmp.Or(c.get("IdentityAgent"), "SSH_AUTH_SOCK"); {
	case agent == "none":
	case agent == "SSH_AUTH_SOCK":
		l.Agent = os.Getenv("SSH_AUTH_SOCK")
	case strings.HasPrefix(agent, "$"):
		l.Agent = os.Getenv(strings.Trim(agent, "${}"))
	default:
		l.Agent = t.path(agent)
	}
	return l
}

// tokens are what OpenSSH fills in (ssh_config(5), TOKENS).
type tokens struct{ home, local, remote, host, port string }

func (t tokens) in(text string) string {
	return strings.NewReplacer("%%", "%", "%d", t.home, "%h", t.host, "%p", t.port, "%r", t.remote, "%u", t.local).Replace(text)
}

func (t tokens) path(text string) string {
	if rest, ok := strings.CutPrefix(text, "~/"); ok {
		text = filepath.Join(t.home, rest)
	}
	return t.in(text)
}
