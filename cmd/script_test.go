package cmd

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is also skep itself.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"skep": func() { os.Exit(Main(os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})) },
	})
}

// The scripts in testdata/script read like a terminal. Beside testscript's own
// commands they have:
//
//	engine [FILE]        from here on there is a Docker engine, with the containers of FILE
//	[!] asked PATTERN    the engine got a request like that
//	exits CODE COMMAND   the command ends with this code; where it fails, with one line on stderr alone
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/config")
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("DOCKER_HOST", "unix:///nowhere.sock")
			// Built with -race, a program sleeps a second when it ends.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Values[engineKey{}] = &[]*fakeEngine{}
			return nil
		},
		Cmds:               map[string]func(*testscript.TestScript, bool, []string){"engine": engineCommand, "asked": askedCommand, "exits": exitsCommand},
		RequireUniqueNames: true,
	})
}

func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, not %d", code, want)
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if strings.Contains(stdout+stderr, "\x1b") {
		ts.Fatalf("colours off a terminal")
	}
	if want != done && (stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") || !strings.Contains(stderr, "skep: ")) {
		ts.Fatalf("not exactly one line on stderr and nothing on stdout")
	}
}
