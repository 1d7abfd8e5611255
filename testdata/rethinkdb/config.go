package main

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// config is what the options mean.
type config struct {
	directory   string
	name        string // only for a new data directory
	nameGiven   bool
	tags        []string
	password    string       // of the user admin, where none is set yet; "" for none
	generated   bool         // was the password asked for as "auto"?
	clusterBind []netip.Addr // the addresses to listen on; nil for all
	driverBind  []netip.Addr
	httpBind    []netip.Addr
	clusterPort uint16
	driverPort  uint16
	httpPort    uint16
	noHTTP      bool
	joins       []hostPort
	canonical   []hostPort    // what other servers are told to call us; none means every local address
	reconnect   time.Duration // how long a lost server is looked for
	cacheSize   uint64        // megabytes; only shown
	clusterTLS  *secured
	driverTLS   *secured
	httpTLS     *secured
}

const (
	clusterPort = 29015
	driverPort  = 28015
	httpPort    = 8080
)

func newConfig(o options) (*config, error) {
	c := &config{
		directory: o.get("--directory", "rethinkdb_data"),
		name:      o.get("--server-name", ""),
		nameGiven: o.has("--server-name"),
		tags:      append(slices.Clone(o["--server-tag"]), "default"),
		noHTTP:    o.has("--no-http-admin"),
	}
	for _, set := range []func(options) error{c.setNames, c.setPassword, c.setPorts, c.setBinds, c.setPeers, c.setTLS, c.checkRest} {
		if err := set(o); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *config) setNames(options) error {
	valid := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	if c.nameGiven && !valid.MatchString(c.name) {
		return fmt.Errorf("server-name %q is invalid: use A-Z, a-z, 0-9, _ and - only", c.name)
	}
	for _, tag := range c.tags {
		if !valid.MatchString(tag) {
			return fmt.Errorf("server-tag %q is invalid: use A-Z, a-z, 0-9, _ and - only", tag)
		}
	}
	if !c.nameGiven {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		c.name = regexp.MustCompile(`[^A-Za-z0-9_]`).ReplaceAllString(host, "_") + "_" + strings.ToLower(rand.Text()[:3])
	}
	return nil
}

func (c *config) setPassword(o options) error {
	c.password = o.get("--initial-password", "")
	if c.password == "auto" {
		c.password, c.generated = newUUID(), true
	}
	return nil
}

func (c *config) setPorts(o options) error {
	offset, err := strconv.Atoi(o.get("--port-offset", "0"))
	if err != nil {
		return fmt.Errorf("port-offset: %w", err)
	}
	for name, port := range map[string]struct {
		to       *uint16
		fallback int
	}{
		"--cluster-port": {&c.clusterPort, clusterPort},
		"--driver-port":  {&c.driverPort, driverPort},
		"--http-port":    {&c.httpPort, httpPort},
	} {
		number, err := strconv.Atoi(o.get(name, strconv.Itoa(port.fallback)))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if number += offset; number < 1 || number > 65535 {
			return fmt.Errorf("%s: %d is no port", name, number)
		}
		*port.to = uint16(number)
	}
	return nil
}

func (c *config) setBinds(o options) error {
	var err error
	for name, to := range map[string]*[]netip.Addr{
		"--bind-cluster": &c.clusterBind,
		"--bind-driver":  &c.driverBind,
		"--bind-http":    &c.httpBind,
	} {
		values := o[name]
		if len(values) == 0 {
			values = o["--bind"]
		}
		if *to, err = bindAddresses(values, !o.has("--no-default-bind")); err != nil {
			return err
		}
	}
	return nil
}

// bindAddresses are the addresses to listen on: those given, which must be of this machine, and without --no-default-bind
// the loopback ones. "all" makes it nil.
func bindAddresses(values []string, loopback bool) ([]netip.Addr, error) {
	if slices.Contains(values, "all") {
		return nil, nil
	}
	local, err := localAddresses()
	if err != nil {
		return nil, err
	}
	var bound []netip.Addr
	for _, value := range values {
		address, err := netip.ParseAddr(value)
		if err != nil {
			return nil, fmt.Errorf("bind address %q is neither \"all\" nor an IP address", value)
		}
		if !slices.Contains(local, address) {
			return nil, fmt.Errorf("bind address %s is not of this machine", address)
		}
		bound = append(bound, address)
	}
	for _, address := range local {
		if loopback && address.IsLoopback() && !slices.Contains(bound, address) {
			bound = append(bound, address)
		}
	}
	if len(bound) == 0 {
		return nil, fmt.Errorf("no address to listen on")
	}
	return bound, nil
}

func (c *config) setPeers(o options) error {
	for _, value := range o["--join"] {
		peer, err := parseHostPort(value, clusterPort)
		if err != nil {
			return fmt.Errorf("--join: %w", err)
		}
		c.joins = append(c.joins, peer)
	}
	for _, value := range o["--canonical-address"] {
		self, err := parseHostPort(value, c.clusterPort)
		if err != nil {
			return fmt.Errorf("--canonical-address: %w", err)
		}
		c.canonical = append(c.canonical, self)
	}
	seconds, err := strconv.ParseUint(o.get("--cluster-reconnect-timeout", "86400"), 10, 31)
	if err != nil {
		return fmt.Errorf("--cluster-reconnect-timeout: %w", err)
	}
	c.reconnect = time.Duration(seconds) * time.Second
	return nil
}

func (c *config) setTLS(o options) (err error) {
	for group, to := range map[string]**secured{"cluster": &c.clusterTLS, "driver": &c.driverTLS, "http": &c.httpTLS} {
		if *to, err = newSecured(o, group); err != nil {
			return err
		}
	}
	return nil
}

// checkRest refuses bad values of options that change nothing here.
func (c *config) checkRest(o options) error {
	for _, name := range []string{"--cores", "--io-threads", "--join-delay"} {
		if number, err := strconv.Atoi(o.get(name, "1")); err != nil || number < 0 {
			return fmt.Errorf("%s: %q is no number", name, o.get(name, ""))
		}
	}
	size := o.get("--cache-size", "auto")
	if size == "auto" {
		size = "100" // what the real one takes on the smallest machine
	}
	var err error
	if c.cacheSize, err = strconv.ParseUint(size, 10, 64); err != nil {
		return fmt.Errorf("--cache-size: %q is neither \"auto\" nor a number of megabytes", size)
	}
	return nil
}
