package services

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// in replaces paths of the script by those of this world.
func (w *world) in(script string) string {
	for from, to := range map[string]string{
		"/run/secrets/": w.dir + "/secrets/", "/proc/net/": w.dir + "/net/", "/tmp/skep.conf": w.dir + "/skep.conf",
		"=/data/": "=" + w.dir + "/", "tick=3 ": "tick=0.05 ", "/proc/meminfo": w.dir + "/meminfo",
	} {
		changed := strings.ReplaceAll(script, from, to)
		if changed == script {
			w.t.Fatalf("the script has no %s", from)
		}
		script = changed
	}
	return script
}

// start runs the script in the world as db0 (the seed) or db1.
func (w *world) start(service string, vars ...string) (args []string, stderr string) {
	w.t.Helper()
	vars = append(vars, "SKEP_SERVERS=2", "SKEP_SERVER="+service+"_dev-worker-1", "SKEP_PEERS=tasks.db0 tasks.db1")
	if service == "db0" {
		vars = append(vars, "SKEP_SEED=true")
	}
	args, stderr, err := w.run("bash", w.in(rethinkStart), vars...)
	if err != nil {
		w.t.Fatalf("%v: %s", err, stderr)
	}
	return args, stderr
}

func newRethinkWorld(t *testing.T) *world {
	w := newWorld(t, "rethinkdb")
	w.lines("meminfo", "MemTotal:        1536000 kB", "MemFree: 1 kB")
	w.lines("own", "10.0.1.5")
	w.write("net/tcp", "")
	w.write("net/tcp6", "")
	return w
}

func follows(args []string, name, value string) bool {
	i := slices.Index(args, name)
	return i >= 0 && i+1 < len(args) && args[i+1] == value
}

func TestRethinkSharesAThirdOfTheMemory(t *testing.T) {
	w := newRethinkWorld(t)
	if args, _ := w.start("db0"); !follows(args, "--cache-size", "250") { // 1500 MB / 3 / 2
		t.Errorf("started with %q", args)
	}
	if args, _ := w.start("db0", "SKEP_CACHE_MB=77"); !follows(args, "--cache-size", "77") {
		t.Errorf("started with %q", args)
	}
	w.lines("meminfo", "MemTotal: 100000 kB")
	if args, _ := w.start("db0"); !follows(args, "--cache-size", "64") {
		t.Errorf("started with %q", args)
	}
}

// The password is in a file, and the same for all: whichever server's initial
// one wins.
func TestRethinkIsGivenItsPasswordInAFile(t *testing.T) {
	w := newRethinkWorld(t)
	check := func(who string, args []string) {
		t.Helper()
		if !follows(args, "--config-file", w.dir+"/skep.conf") || strings.Contains(strings.Join(args, " "), "s3cret") || slices.Contains(args, "--initial-password") {
			t.Errorf("%s is started with %q", who, args)
		}
	}
	w.write("secrets/rethink-password", "s3cret")
	args, _ := w.start("db0")
	check("the first", args)
	text, err := os.ReadFile(filepath.Join(w.dir, "skep.conf"))
	if err != nil || string(text) != "initial-password=s3cret\n" {
		t.Errorf("its file has %q, %v", text, err)
	}
	if info, err := os.Stat(filepath.Join(w.dir, "skep.conf")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its file is %v, %v", info.Mode(), err)
	}
	w.resolves("tasks.db0", "10.0.1.6")
	w.lines("answering", "10.0.1.6")
	args, _ = w.start("db1")
	check("a joiner", args)
}

func TestRethinkSpeaksTLSWhereItHasACertificate(t *testing.T) {
	w := newRethinkWorld(t)
	if args, _ := w.start("db0"); strings.Contains(strings.Join(args, " "), "tls") {
		t.Errorf("without one it is started with %q", args)
	}
	w.write("secrets/rethink-cert", "")
	args, _ := w.start("db0")
	for _, port := range []string{"http", "driver", "cluster"} {
		if !follows(args, "--"+port+"-tls-cert", w.dir+"/secrets/rethink-cert") || !follows(args, "--"+port+"-tls-key", w.dir+"/secrets/rethink-key") {
			t.Errorf("%s: started with %q", port, args)
		}
	}
	if !follows(args, "--cluster-tls-ca", rethinkCAPath) {
		t.Errorf("started with %q", args)
	}
}

// tcp is a line of 10.0.1.5's /proc/net/tcp, or, with a prefix for addresses, of
// tcp6.
func tcp(prefix string, herePort int, there string, therePort int, state string) string {
	hex := func(address string, port int) string {
		var a, b, c, d int
		_, _ = fmt.Sscanf(address, "%d.%d.%d.%d", &a, &b, &c, &d)
		return fmt.Sprintf("%s%02X%02X%02X%02X:%04X", prefix, d, c, b, a, port)
	}
	return "   0: " + hex("10.0.1.5", herePort) + " " + hex(there, therePort) + " " + state + " 00000000:00000000 00:00000000 00000000 0 0 1"
}

// Of a cluster that has come apart the smaller part starts anew.
func TestRethinkStartsAnewWhereItIsApart(t *testing.T) {
	const me, established, listening = "10.0.1.5", "01", "0A"
	to := func(peer string) string { return tcp("", 40000, peer, 29015, established) }
	from := func(peer string) string { return tcp("", 29015, peer, 40000, established) }
	mapped := func(peer string) string {
		return tcp("0000000000000000FFFF0000", 29015, peer, 40000, established)
	}
	for name, test := range map[string]struct {
		peers, answering, tcp, tcp6 []string
		ends                        bool
	}{
		"connected with all":                    {[]string{"10.0.1.6", "10.0.1.7"}, []string{"10.0.1.6", "10.0.1.7"}, []string{to("10.0.1.6"), from("10.0.1.7")}, nil, false},
		"alone, and others answer":              {[]string{"10.0.1.6", "10.0.1.7"}, []string{"10.0.1.6", "10.0.1.7"}, nil, nil, true},
		"alone, and nobody answers":             {[]string{"10.0.1.6", "10.0.1.7"}, nil, nil, nil, false},
		"alone in the DNS":                      {nil, nil, nil, nil, false},
		"in the greater part":                   {[]string{"10.0.1.6", "10.0.1.7"}, []string{"10.0.1.6", "10.0.1.7"}, []string{to("10.0.1.6")}, nil, false},
		"in the half without the first address": {[]string{"10.0.1.3", "10.0.1.6", "10.0.1.7"}, []string{"10.0.1.3", "10.0.1.6", "10.0.1.7"}, []string{to("10.0.1.6")}, nil, true},
		"in the half with the first address":    {[]string{"10.0.1.3", "10.0.1.6", "10.0.1.7"}, []string{"10.0.1.3", "10.0.1.6", "10.0.1.7"}, []string{to("10.0.1.3")}, nil, false},
		"one of two with the first address":     {[]string{"10.0.1.6"}, []string{"10.0.1.6"}, nil, nil, false},
		"one of two without it":                 {[]string{"10.0.1.3"}, []string{"10.0.1.3"}, nil, nil, true},
		"a port that listens is no connection":  {[]string{"10.0.1.6", "10.0.1.7"}, []string{"10.0.1.6", "10.0.1.7"}, []string{tcp("", 29015, "10.0.1.6", 0, listening)}, nil, true},
		"another port is none either":           {[]string{"10.0.1.6", "10.0.1.7"}, []string{"10.0.1.6", "10.0.1.7"}, []string{tcp("", 40000, "10.0.1.6", 28015, established)}, nil, true},
		"connections by the other protocol":     {[]string{"10.0.1.6", "10.0.1.7"}, []string{"10.0.1.6", "10.0.1.7"}, nil, []string{mapped("10.0.1.6"), mapped("10.0.1.7")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newRethinkWorld(t)
			// The server lives for a while, and says so when it is ended.
			life := 15 // tenths of a second
			if test.ends {
				life = 300
			}
			w.write("bin/rethinkdb", "#!/bin/bash\ntrap 'echo ended; exit 0' TERM\nfor ((n = 0; n < "+fmt.Sprint(life)+"; n++)); do read -r -t 0.1 -u 9 _ 9<> <(:); done\nexit 0\n")
			w.resolves("tasks.db0", me)
			if len(test.peers) > 0 {
				w.resolves("tasks.db1", test.peers...)
			}
			// It started alone, before any of them answered.
			w.write("bin/timeout", "#!/bin/sh\n[ -e \"$WORLD/started\" ] || exit 124\n"+fakeTimeout)
			w.write("bin/sed", "#!/bin/sh\n: >\"$WORLD/started\"\nexec /bin/sed \"$@\"\n")
			w.lines("answering", test.answering...)
			w.lines("net/tcp", append([]string{"  sl  local_address rem_address   st"}, test.tcp...)...)
			w.lines("net/tcp6", test.tcp6...)
			w.hasData()
			args, stderr := w.start("db0", "SECONDS=1")
			if ended := slices.Equal(args, []string{"ended"}); ended != test.ends {
				t.Errorf("started anew: %t, not %t: %s", ended, test.ends, stderr)
			}
		})
	}
}
