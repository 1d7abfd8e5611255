package discovery

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// maxAddress is longer than a host name can be, with scheme and port.
const maxAddress = 300

// Address is a registered address in its parts, as join formats name them.
type Address struct{ Addr, Host, Port string }

// ParseAddress takes HOST:PORT, with a scheme before it or not; the port may be
// left out after a scheme.
func ParseAddress(addr string) (Address, error) {
	bad := func(why string) (Address, error) {
		return Address{}, fmt.Errorf("%.80q is not an address: %s, as http://10.0.0.5:4001 or 10.0.0.5:4001", addr, why)
	}
	if len(addr) > maxAddress {
		return bad(fmt.Sprintf("it is longer than %d bytes", maxAddress))
	}
	text, scheme := addr, strings.Contains(addr, "://")
	if !scheme {
		text = "tcp://" + addr
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return bad("it should be a host and a port alone")
	}
	a := Address{Addr: addr, Host: u.Hostname(), Port: u.Port()}
	if !isHost(a.Host) {
		return bad("it has no host")
	}
	if n, err := strconv.Atoi(a.Port); (err != nil || n < 1 || n > 65535) && (a.Port != "" || !scheme) {
		return bad("it has no port from 1 to 65535")
	}
	return a, nil
}

// isHost keeps out what a command line or a log could misread.
func isHost(host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == "" && host[0] != '-'
}
