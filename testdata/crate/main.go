// Command crate is a STAND-IN for CrateDB, whose image cannot be had without a registry. It takes the settings that
// skep's stack gives and refuses all others, checks what the real server's bootstrap checks do, and begins, joins and
// recovers a cluster by the real one's rules, where it is stricter as told below. It stores nothing and answers two
// statements: those that skep asks.
package main

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	s, err := parse(os.Args[1:])
	if err == nil {
		err = s.check()
	}
	if err == nil {
		err = run(s)
	}
	fmt.Fprintln(os.Stderr, "crate (stand-in):", err)
	os.Exit(1)
}

// settings are those of the command line, by name.
type settings map[string]string

func known() []string {
	return []string{
		"cluster.name", "node.name", "path.data", "network.host", "network.publish_host", "http.port", "transport.port",
		"discovery.seed_hosts", "gateway.expected_data_nodes", "gateway.recover_after_data_nodes", "cluster.initial_master_nodes",
	}
}

func parse(args []string) (settings, error) {
	s := settings{}
	for _, a := range args {
		text, ok := strings.CutPrefix(a, "-C")
		name, value, isPair := strings.Cut(text, "=")
		if !ok || !isPair || value == "" {
			return nil, fmt.Errorf("%s is no setting", a)
		}
		if !slices.Contains(known(), name) {
			return nil, fmt.Errorf("unknown setting [%s]", name)
		}
		if s[name] != "" {
			return nil, fmt.Errorf("setting [%s] is given twice", name)
		}
		s[name] = value
	}
	for _, name := range known()[:len(known())-1] {
		if s[name] == "" {
			return nil, fmt.Errorf("setting [%s] is missing", name)
		}
	}
	return s, nil
}

const leastMap = 262144

// check does what the real server does before it starts on an address that others reach, and what skep promises of it.
func (s settings) check() error {
	text, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || n < leastMap {
		return fmt.Errorf("bootstrap checks failed: max virtual memory areas vm.max_map_count [%d] is too low, increase to at least [%d]", n, leastMap)
	}
	if heap := os.Getenv("CRATE_HEAP_SIZE"); !regexp.MustCompile(`^[1-9][0-9]*[mg]$`).MatchString(heap) {
		return fmt.Errorf("CRATE_HEAP_SIZE is %q", heap)
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(own, func(a net.Addr) bool { return strings.HasPrefix(a.String(), s["network.publish_host"]+"/") }) {
		return fmt.Errorf("network.publish_host %s is no address of this host", s["network.publish_host"])
	}
	expected, err1 := strconv.Atoi(s["gateway.expected_data_nodes"])
	after, err2 := strconv.Atoi(s["gateway.recover_after_data_nodes"])
	if err1 != nil || err2 != nil || after < 1 || after > expected || after <= expected/2 {
		return fmt.Errorf("gateway.recover_after_data_nodes %s of gateway.expected_data_nodes %s", s["gateway.recover_after_data_nodes"], s["gateway.expected_data_nodes"])
	}
	return nil
}
