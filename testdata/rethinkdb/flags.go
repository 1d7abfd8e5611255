package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

// An option of the command line or the config file, as `rethinkdb --help` of 2.4 lists them.
type option struct {
	long, short string
	kind        kind
}

type kind int

const (
	flag   kind = iota // no value
	one                // a value, once
	many               // a value, any number of times
	absent             // known to the real server and not played here: refused rather than ignored
)

func knownOptions() []option {
	return []option{
		{"--directory", "-d", one}, {"--io-threads", "", one}, {"--direct-io", "", flag}, {"--cache-size", "", one},
		{"--server-name", "-n", one}, {"--server-tag", "-t", many},
		{"--bind", "", many}, {"--bind-cluster", "", many}, {"--bind-driver", "", many}, {"--bind-http", "", many},
		{"--no-default-bind", "", flag},
		{"--cluster-port", "", one}, {"--driver-port", "", one}, {"--http-port", "", one}, {"--port-offset", "-o", one},
		{"--join", "-j", many}, {"--join-delay", "", one}, {"--canonical-address", "", many},
		{"--cluster-reconnect-timeout", "", one}, {"--reql-http-proxy", "", one},
		{"--http-tls-key", "", one}, {"--http-tls-cert", "", one},
		{"--driver-tls-key", "", one}, {"--driver-tls-cert", "", one}, {"--driver-tls-ca", "", one},
		{"--cluster-tls-key", "", one}, {"--cluster-tls-cert", "", one}, {"--cluster-tls-ca", "", one},
		{"--tls-min-protocol", "", one}, {"--tls-ciphers", "", absent},
		{"--tls-ecdh-curve", "", absent}, {"--tls-dhparams", "", absent},
		{"--initial-password", "", one},
		{"--web-static-directory", "", one}, {"--no-http-admin", "", flag},
		{"--cores", "-c", one}, {"--pid-file", "", one}, {"--daemon", "", absent},
		{"--runuser", "", one}, {"--rungroup", "", one},
		{"--help", "-h", flag}, {"--version", "-v", flag},
		{"--log-file", "", one}, {"--no-update-check", "", flag}, {"--config-file", "", one},
	}
}

// options are the values given, by long name.
type options map[string][]string

func (o options) has(name string) bool { return len(o[name]) > 0 }

func (o options) get(name, fallback string) string {
	if o.has(name) {
		return o[name][0]
	}
	return fallback
}

// parseOptions reads the command line and then the config file that it names, whose values count where the command line
// gives none.
func parseOptions(args []string) (options, error) {
	given, err := parseArgs(args)
	if err != nil {
		return nil, err
	}
	path := given.get("--config-file", "")
	if path == "" {
		return given, nil
	}
	fromFile, err := parseConfigFile(path)
	if err != nil {
		return nil, err
	}
	for name, values := range fromFile {
		if !given.has(name) {
			given[name] = values
		}
	}
	return given, nil
}

func parseArgs(args []string) (options, error) {
	given := options{}
	for i := 0; i < len(args); i++ {
		name, value, hasValue := strings.Cut(args[i], "=")
		known, err := find(name)
		if err != nil {
			return nil, err
		}
		if known.kind != flag && !hasValue {
			i++
			if i == len(args) {
				return nil, fmt.Errorf("option %s needs a value", name)
			}
			value, hasValue = args[i], true
		}
		if err := given.add(known, value, hasValue); err != nil {
			return nil, err
		}
	}
	return given, nil
}

// parseConfigFile reads lines of `name=value`, or `name` alone for a flag; # starts a comment.
func parseConfigFile(path string) (options, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("config file: %w", err)
	}
	defer file.Close()
	given := options{}
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, hasValue := strings.Cut(line, "=")
		known, err := find("--" + strings.TrimSpace(name))
		if err == nil {
			err = given.add(known, strings.TrimSpace(value), hasValue)
		}
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, number, err)
		}
	}
	return given, lines.Err()
}

func find(name string) (option, error) {
	known := knownOptions()
	i := slices.IndexFunc(known, func(o option) bool {
		return name == o.long || o.short != "" && name == o.short
	})
	if i < 0 {
		return option{}, fmt.Errorf("unrecognized option %s (see 'rethinkdb --help')", name)
	}
	if known[i].kind == absent {
		return option{}, fmt.Errorf("this stand-in does not have %s", name)
	}
	return known[i], nil
}

func (o options) add(known option, value string, hasValue bool) error {
	switch {
	case known.kind == flag && hasValue && value != "":
		return fmt.Errorf("option %s takes no value", known.long)
	case known.kind != flag && !hasValue:
		return fmt.Errorf("option %s needs a value", known.long)
	case known.kind == one && o.has(known.long):
		return fmt.Errorf("option %s was given more than once", known.long)
	}
	o[known.long] = append(o[known.long], value)
	return nil
}

func usage() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n\nusage: rethinkdb [OPTION]...\n\n", version)
	for _, option := range knownOptions() {
		if option.kind != absent {
			fmt.Fprintf(&text, "  %-2s %s\n", option.short, option.long)
		}
	}
	return text.String()
}
