package services

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is what a start script sees: the programs it runs are small scripts in
// one folder, which read what they tell from files in another.
type world struct {
	t    *testing.T
	dir  string
	vars []string
}

const (
	// The resolver names each address three times, once a socket type.
	fakeGetent = `[ "$1" = ahostsv4 ] || exit 3
while read -r address; do
	for kind in STREAM DGRAM RAW; do echo "$address    $kind $2"; done
done 2>/dev/null <"$WORLD/dns/$2" || exit 2
`
	fakeHostname = `[ "$1" = -I ] || exit 3
echo "$(cat "$WORLD/own") "
`
	// A peer that does not answer lets the dialling run into its timeout.
	fakeTimeout = `[ "$1 $2 $3" = "1 bash -c" ] || exit 3
address=${4#</dev/tcp/}
[ "${address#*/}" = 29015 ] || exit 3
grep -qx "${address%/*}" "$WORLD/answering" || exit 124
`
	// The script waits by sleeping, and the world changes meanwhile: line n of
	// the file tells who answers after the n-th sleep.
	fakeSleep = `echo >>"$WORLD/slept"
sed -n "$(wc -l <"$WORLD/slept")p" "$WORLD/coming" >>"$WORLD/answering"
`
	fakeServer = `for a; do echo "$a"; done
`
)

// newWorld has the program that the script ends with, which prints its
// arguments, a line each.
func newWorld(t *testing.T, server string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	for name, script := range map[string]string{
		"getent": fakeGetent, "hostname": fakeHostname, "timeout": fakeTimeout, "sleep": fakeSleep, server: fakeServer,
	} {
		w.write("bin/"+name, "#!/bin/sh\n"+script)
	}
	for _, empty := range []string{"own", "answering", "coming", "slept"} {
		w.write(empty, "")
	}
	w.vars = []string{"WORLD=" + w.dir, "PATH=" + filepath.Join(w.dir, "bin") + ":" + os.Getenv("PATH")}
	return w
}

func (w *world) write(name, content string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	// #nosec G306 -- most are programs
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		w.t.Fatal(err)
	}
}

// resolves makes a name known.
func (w *world) resolves(name string, addresses ...string) {
	w.write("dns/"+name, strings.Join(addresses, "\n")+"\n")
}

// lines makes a file of them, one a line.
func (w *world) lines(name string, lines ...string) { w.write(name, strings.Join(lines, "\n")+"\n") }

func (w *world) slept() int {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "slept"))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// run runs the script and returns what the server was started with.
func (w *world) run(shell, script string, vars ...string) (args []string, stderr string, err error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, shell, "-c", script) // #nosec G204 -- the script under test
	c.Env = append(w.vars, vars...)
	var told strings.Builder
	c.Stderr = &told
	out, err := c.Output()
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' }), told.String(), err
}

// rethink runs rethink.sh as a task of the service does, and returns what it
// joined.
func (w *world) rethink(service string, vars ...string) (args, joined []string, stderr string) {
	w.t.Helper()
	n := int(service[len(service)-1] - '0')
	vars = append(vars, "SKEP_SERVERS=2", "SKEP_CACHE_MB=100", "SKEP_SERVER="+service+"_dev-worker-1", "SKEP_PEERS="+strings.Join(rethinkPeers(n), " "))
	if n == 0 {
		vars = append(vars, "SKEP_SEED=true")
	}
	// /data is the task's volume, and here a folder of this world.
	script := strings.ReplaceAll(rethinkStart, "/data/", w.dir+"/")
	if script == rethinkStart {
		w.t.Fatal("the script has its data elsewhere")
	}
	args, stderr, err := w.run("bash", script, vars...)
	if err != nil {
		w.t.Fatalf("%v: %s", err, stderr)
	}
	for i, a := range args {
		if a == "--join" {
			joined = append(joined, args[i+1])
		}
	}
	return args, joined, stderr
}

func (w *world) hasData() { w.write("rethinkdb_data/metadata", "") }

func checkJoined(t *testing.T, joined []string, want ...string) {
	t.Helper()
	for i := range want {
		want[i] += ":29015"
	}
	if !slices.Equal(joined, want) {
		t.Errorf("joins %v, not %v", joined, want)
	}
}

func TestRethinkJoinsEveryPeerThatAnswersByItsAddress(t *testing.T) {
	w := newWorld(t, "rethinkdb")
	w.resolves("tasks.db0", "10.0.1.5")
	w.resolves("tasks.db1", "10.0.1.8", "10.0.1.9", "10.0.1.10")
	w.lines("own", "10.0.1.9 172.18.0.3")
	w.lines("answering", "10.0.1.5", "10.0.1.8", "10.0.1.10")
	args, joined, stderr := w.rethink("db1")
	checkJoined(t, joined, "10.0.1.10", "10.0.1.5", "10.0.1.8")
	if w.slept() > 0 || stderr != "" {
		t.Errorf("slept %d times and said %q", w.slept(), stderr)
	}
	want := []string{"--bind", "all", "--directory", w.dir + "/rethinkdb_data", "--no-update-check", "--cache-size", "100", "--server-name", "db1_dev_worker_1"}
	if !slices.Equal(args[:len(want)], want) {
		t.Errorf("started with %q, not %q", args[:len(want)], want)
	}
}

// A name that resolves to the server itself, among others or alone.
func TestRethinkDropsItsOwnAddress(t *testing.T) {
	w := newWorld(t, "rethinkdb")
	w.resolves("tasks.db0", "10.0.1.5")
	// 10.0.1.1 and 10.0.1.55 are others, though their text is part of its own or has it.
	w.resolves("tasks.db1", "10.0.1.1", "10.0.1.5", "10.0.1.55")
	w.lines("own", "10.0.1.5 172.18.0.3")
	w.lines("answering", "10.0.1.1", "10.0.1.5", "10.0.1.55")
	_, joined, _ := w.rethink("db0")
	checkJoined(t, joined, "10.0.1.1", "10.0.1.55")
}

// The real server hangs where it joins one that does not answer.
func TestRethinkLeavesPeersOutThatDoNotAnswer(t *testing.T) {
	w := newWorld(t, "rethinkdb")
	w.resolves("tasks.db0", "10.0.1.5")
	w.resolves("tasks.db1", "10.0.1.8", "10.0.1.9")
	w.lines("own", "10.0.1.9")
	w.lines("answering", "10.0.1.8")
	_, joined, _ := w.rethink("db1")
	checkJoined(t, joined, "10.0.1.8")
}

func TestRethinkJoinsAPeerBehindTwoNamesOnce(t *testing.T) {
	w := newWorld(t, "rethinkdb")
	w.resolves("tasks.db0", "10.0.1.5")
	w.resolves("tasks.db1", "10.0.1.5")
	w.lines("own", "10.0.1.9")
	w.lines("answering", "10.0.1.5")
	_, joined, _ := w.rethink("db1")
	checkJoined(t, joined, "10.0.1.5")
}

// Alone it would create a database of its own, which no later merge mends.
func TestRethinkAnEmptyJoinerWaitsForAPeer(t *testing.T) {
	for name, resolves := range map[string]bool{"that resolves": true, "that does not even resolve": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "rethinkdb")
			w.lines("own", "10.0.1.9")
			w.lines("coming", "", "", "10.0.1.5")
			if resolves {
				w.resolves("tasks.db0", "10.0.1.5")
			} else {
				// It appears in the DNS as it begins to answer.
				w.write("bin/sleep", "#!/bin/sh\n"+fakeSleep+`[ -s "$WORLD/answering" ] && grep 10 "$WORLD/answering" >"$WORLD/dns/tasks.db0"`+"\ntrue\n")
				w.lines("dns/other")
			}
			// However long it takes.
			_, joined, stderr := w.rethink("db1", "SECONDS=900000")
			checkJoined(t, joined, "10.0.1.5")
			if w.slept() != 3 || stderr != "" {
				t.Errorf("slept %d times and said %q", w.slept(), stderr)
			}
		})
	}
}

func TestRethinkAnEmptySeedBeginsAtOnce(t *testing.T) {
	w := newWorld(t, "rethinkdb")
	w.resolves("tasks.db0", "10.0.1.5") // itself
	w.lines("own", "10.0.1.5")
	_, joined, stderr := w.rethink("db0")
	checkJoined(t, joined)
	if w.slept() > 0 || !strings.Contains(stderr, "starting alone") {
		t.Errorf("slept %d times and said %q", w.slept(), stderr)
	}
}

// An empty seed that has peers lost its volume: they have the data.
func TestRethinkAnEmptySeedLooksForThePeersThatItHas(t *testing.T) {
	w := newWorld(t, "rethinkdb")
	w.resolves("tasks.db1", "10.0.1.8")
	w.lines("own", "10.0.1.5")
	w.lines("coming", "", "10.0.1.8")
	_, joined, _ := w.rethink("db0")
	checkJoined(t, joined, "10.0.1.8")
	if w.slept() != 2 {
		t.Errorf("slept %d times", w.slept())
	}
}

// Of servers with data the seed gives up first, and the joiners find it. bash
// begins to count SECONDS at the value that it is given.
func TestRethinkPatience(t *testing.T) {
	for name, test := range map[string]struct {
		service string
		data    bool
		limit   string
	}{
		"an empty seed with peers": {"db0", false, "30"},
		"a seed with data":         {"db0", true, "1"},
		"a joiner with data":       {"db1", true, "15"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "rethinkdb")
			w.resolves("tasks.db0", "10.0.1.5", "10.0.1.6")
			w.lines("own", "10.0.1.5")
			if test.data {
				w.hasData()
			}
			_, joined, stderr := w.rethink(test.service, "SECONDS="+test.limit)
			checkJoined(t, joined)
			if w.slept() > 0 || !strings.Contains(stderr, "starting alone") {
				t.Errorf("at its limit it slept %d times more and said %q", w.slept(), stderr)
			}
			w.lines("coming", "10.0.1.6")
			_, joined, _ = w.rethink(test.service, "SECONDS=0")
			checkJoined(t, joined, "10.0.1.6")
		})
	}
}

func TestRethinkGivesANameThatTheServerTakes(t *testing.T) {
	legal := regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	for _, name := range []string{"db1_dev-worker-1", "db0_host.example.com", "db0_a b", "db0_x;reboot", "db0_$(id)", "db0_dév", "db0_'\""} {
		w := newWorld(t, "rethinkdb")
		w.lines("own", "10.0.1.5")
		args, _, err := w.run("bash", rethinkStart, "SKEP_SERVERS=2", "SKEP_SERVER="+name, "SKEP_PEERS=tasks.db0", "SKEP_SEED=true")
		i := slices.Index(args, "--server-name")
		if err != nil || i < 0 || i+2 != len(args) || !legal.MatchString(args[i+1]) || !strings.HasPrefix(args[i+1], "db") {
			t.Errorf("%q: started with %q, %v", name, args, err)
		}
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (w *world) has(name string) bool {
	_, err := os.Stat(filepath.Join(w.dir, name))
	return err == nil
}
