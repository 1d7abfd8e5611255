package nodes

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"skep/providers"
	"skep/tunnel"
	"skep/usage"

	"golang.org/x/crypto/ssh"
)

func TestCreateRefusesBeforeItMakesAnything(t *testing.T) {
	for name, test := range map[string]struct {
		d    *fake
		o    CreateOptions
		want string
		code bool // wrong usage
	}{
		"a driver that does not exist": {&fake{}, CreateOptions{Driver: "virtualpox"}, `there is no driver "virtualpox": use fake`, true},
		"no managers":                  {&fake{}, CreateOptions{Driver: "fake", Workers: 2}, "dev has no manager", true},
		"a provider out of reach":      {&fake{listErr: errors.New("no route")}, CreateOptions{Driver: "fake"}, "no route", false},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := environment(t, test.d)
			err := e.Create(t.Context(), test.o)
			var wrong usage.Error
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.As(err, &wrong) != test.code {
				t.Errorf("error %v", err)
			}
			test.d.has(t)
		})
	}
}

func TestCreateChecksTheDriverFirst(t *testing.T) {
	d := &fake{checkErr: errors.New("no such image")}
	e, _ := environment(t, d)
	if err := e.Create(t.Context(), CreateOptions{Driver: "fake", Image: "nowhere:1"}); !errors.Is(err, d.checkErr) {
		t.Errorf("error %v", err)
	}
	d.has(t, "check nowhere:1")
}

func TestCreateThatFailsTakesBackWhatItMade(t *testing.T) {
	broken := errors.New("out of disk")
	for name, test := range map[string]struct {
		there string
		o     CreateOptions
		want  []string
	}{
		"a new environment":     {"", CreateOptions{}, []string{"check", "create", "purge dev"}},
		"of an older one":       {"m1?", CreateOptions{Workers: 2}, []string{"check", "create", "delete w1 w2"}},
		"nothing where told so": {"", CreateOptions{Keep: true}, []string{"check", "create"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := &fake{createErr: broken, machines: parseMachines(test.there)}
			e, _ := environment(t, d)
			test.o.Driver = "fake"
			if err := e.Create(t.Context(), test.o); !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
			d.has(t, test.want...)
		})
	}
}

func TestCreateThatIsInterruptedTakesBackAllTheSame(t *testing.T) {
	ctx, interrupt := context.WithCancelCause(t.Context())
	why := errors.New("stopped by interrupt")
	d := &fake{}
	d.beforeCreate = func() { interrupt(why) }
	d.createErr = context.Canceled
	d.purging = func(ctx context.Context) {
		if _, limited := ctx.Deadline(); ctx.Err() != nil || !limited {
			t.Errorf("takes back under a context that ended (%v) or never ends", ctx.Err())
		}
	}
	e, _ := environment(t, d)
	if err := e.Create(ctx, CreateOptions{Driver: "fake"}); !errors.Is(err, why) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
	d.has(t, "check", "create", "purge dev")
}

func TestCreateTellsWhatItCouldNotTakeBack(t *testing.T) {
	d := &fake{createErr: errors.New("out of disk"), purgeErr: errors.New("still there: volume skep-dev-worker-1")}
	e, _ := environment(t, d)
	if err := e.Create(t.Context(), CreateOptions{Driver: "fake"}); !errors.Is(err, d.createErr) || !errors.Is(err, d.purgeErr) {
		t.Errorf("error %v", err)
	}
}

// Making a second swarm beside one that cannot be seen now would split the
// environment.
func TestCreateMakesNothingWhereTheManagersDoNotAnswer(t *testing.T) {
	d := &fake{machines: []providers.Machine{{Env: "dev", Name: "dev-manager-1", Role: providers.Manager, Driver: "fake"}}}
	e, _ := environment(t, d)
	err := e.Create(t.Context(), CreateOptions{Driver: "fake", Workers: 1})
	if err == nil || !strings.Contains(err.Error(), "`skep nodes start dev`") || !strings.Contains(err.Error(), "no working manager") {
		t.Errorf("error %v", err)
	}
	d.has(t)
}

func TestRemoveAllForgetsOnlyWhatIsGone(t *testing.T) {
	for name, broken := range map[string]error{"": nil, "a driver that fails": errors.New("still there: network skep-dev")} {
		d := &fake{purgeErr: broken}
		e, _ := environment(t, d)
		if err := e.Home.Make(); err != nil {
			t.Fatal(err)
		}
		pins := e.Home.KnownHosts("dev")
		if err := os.WriteFile(pins, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := e.RemoveAll(t.Context(), false); !errors.Is(err, broken) {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := os.Stat(pins); (err == nil) != (broken != nil) {
			t.Errorf("%s: the pinned keys: %v", name, err)
		}
		d.has(t, "purge dev")
	}
}

// Droplets whose token is not here are not gone.
func TestRemoveAllDoesNotCallGoneWhatIsElsewhere(t *testing.T) {
	e, _ := environment(t, &fake{})
	e.Drivers["cloud"] = &fake{listErr: providers.ErrAbsent, purgeErr: providers.ErrAbsent}
	if err := e.Home.Make(); err != nil {
		t.Fatal(err)
	}
	pins := e.Home.KnownHosts("dev")
	for line, gone := range map[string]bool{"dev-worker-1 ssh-ed25519 AAAA\n": true, "dev-worker-1 ssh-ed25519 AAAA cloud\n": false} {
		if err := os.WriteFile(pins, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := e.RemoveAll(t.Context(), false); (err == nil) != gone {
			t.Errorf("%s: error %v", line, err)
		}
		if _, err := os.Stat(pins); (err == nil) == gone {
			t.Errorf("%s: the pins: %v", line, err)
		}
	}
	if err := e.RemoveAll(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestRemoveAllOfWhatIsNotThere(t *testing.T) {
	e, _ := environment(t, &fake{})
	if err := e.RemoveAll(t.Context(), false); err != nil {
		t.Error(err)
	}
}

func TestRemoveRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		there string
		going []string
		want  string
		code  bool // wrong usage
	}{
		"of an environment that is none": {"", longs("w1"), "there is no such environment: `skep nodes create dev`", false},
		"a node that is none":            {"m1 w1", longs("w2"), "dev has no node dev-worker-2", false},
		"one of several that is none":    {"m1 w1", longs("w1 w2"), "dev has no node dev-worker-2", false},
		"the last manager":               {"m1 w1", longs("m1"), "without a manager: `skep nodes rm dev`", true},
		"all managers":                   {"m1 m2 w1", longs("m2 m1"), "without a manager", true},
	} {
		d := &fake{machines: parseMachines(test.there)}
		e, _ := environment(t, d)
		err := e.Remove(t.Context(), test.going, true, nil)
		var wrong usage.Error
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.As(err, &wrong) != test.code {
			t.Errorf("%s: error %v", name, err)
		}
		d.has(t)
	}
}

func TestStopStopsWhatRuns(t *testing.T) {
	d := &fake{machines: parseMachines("m1 w1 w2?")}
	e, told := environment(t, d)
	if err := e.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	d.has(t, "stop m1 w1")
	if got := strings.Count(told.String(), "msg=stopping"); got != 2 {
		t.Errorf("told of %d", got)
	}
}

func TestWhatNeedsAnEnvironmentSaysHowToMakeOne(t *testing.T) {
	e, _ := environment(t, &fake{machines: []providers.Machine{{Env: "tst", Name: "tst-manager-1", Role: providers.Manager}}})
	for name, err := range map[string]error{
		"start":   e.Start(t.Context()),
		"stop":    e.Stop(t.Context()),
		"list":    second(e.List(t.Context())),
		"manager": second(e.Manager(t.Context())),
		"engines": second(e.Engines(t.Context())),
		"engine":  second(e.Engine(t.Context(), "dev-manager-1")),
		"shell":   second(e.Shell(t.Context(), "", "true", strings.NewReader(""), io.Discard, io.Discard)),
	} {
		if !errors.Is(err, ErrNoEnvironment) || !strings.Contains(err.Error(), "`skep nodes create dev`") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestEngineOfANodeThatIsNone(t *testing.T) {
	e, _ := environment(t, &fake{machines: parseMachines("m1")})
	if _, err := e.Engine(t.Context(), "dev-worker-7"); err == nil || !strings.Contains(err.Error(), "dev has no node dev-worker-7") {
		t.Errorf("error %v", err)
	}
}

// A swarm that cannot be asked must not hide what bills.
func TestListShowsMachinesWhoseSwarmDoesNotAnswer(t *testing.T) {
	d := &fake{machines: parseMachines("m1? w1")}
	d.machines[1].Region, d.machines[1].HourlyUSD = "fra1", 0.05
	e, told := environment(t, d)
	found, err := e.List(t.Context())
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	want := Node{Env: "dev", Name: "dev-worker-1", Role: "worker", Driver: "fake", Region: "fra1", Status: "running", Swarm: "unknown", HourlyUSD: 0.05}
	if found[0].Status != "stopped" || found[0].Swarm != "unknown" || found[1] != want {
		t.Errorf("%+v", found)
	}
	if !strings.Contains(told.String(), "level=WARN") || !strings.Contains(told.String(), "env=dev") {
		t.Errorf("told %q", told)
	}
}

func TestListAllKeepsEnvironmentsApart(t *testing.T) {
	d := &fake{}
	for _, env := range []string{"tst", "dev", "tst"} {
		name := fmt.Sprintf("%s-manager-%d", env, len(d.machines)+1)
		d.machines = append(d.machines, providers.Machine{Env: env, Name: name, Role: providers.Manager, Driver: "fake"})
	}
	e, _ := environment(t, d)
	var mu sync.Mutex
	var opened []string
	found, err := ListAll(t.Context(), e.Drivers, e.Log, func(env string) *Environment {
		mu.Lock()
		defer mu.Unlock()
		opened = append(opened, env)
		return &Environment{Name: env, Drivers: e.Drivers, Home: e.Home, Log: slog.New(slog.DiscardHandler)}
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range found {
		got = append(got, n.Name)
	}
	if want := []string{"dev-manager-2", "tst-manager-1", "tst-manager-3"}; !slices.Equal(got, want) {
		t.Errorf("listed %v, not %v", got, want)
	}
	slices.Sort(opened)
	if !slices.Equal(opened, []string{"dev", "tst"}) {
		t.Errorf("opened %v", opened)
	}
	names, err := Names(t.Context(), e.Drivers)
	if err != nil || !slices.Equal(names, []string{"dev", "tst"}) {
		t.Errorf("names %v, %v", names, err)
	}
	d.listErr = errors.New("no route")
	if _, err := ListAll(t.Context(), e.Drivers, e.Log, nil); !errors.Is(err, d.listErr) {
		t.Errorf("error %v", err)
	}
	if _, err := Names(t.Context(), e.Drivers); !errors.Is(err, d.listErr) {
		t.Errorf("error %v", err)
	}
}

func TestTwoCommandsDoNotChangeAnEnvironmentAtOnce(t *testing.T) {
	first, _ := environment(t, &fake{})
	other, told := environment(t, &fake{})
	other.Home = first.Home
	unlock, err := first.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := other.Lock(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("a second command got on, or does not end with its context: %v", err)
	}
	if !strings.Contains(told.String(), "waiting for another skep") {
		t.Errorf("told %q", told)
	}
	unlock()
	unlock, err = other.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	third, _ := environment(t, &fake{})
	third.Home, third.Name = first.Home, "tst"
	unlock, err = first.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ofThird, err := third.Lock(ctx)
	if err != nil {
		t.Fatalf("another environment has to wait: %v", err)
	}
	ofThird()
}

func TestAHostKeyComesFromTheDriverThatHasAWayIn(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	d := &admitting{key: key}
	d.machines = parseMachines("m1")
	d.machines[0].SSH = tunnel.Endpoint{Name: "dev-manager-1", Address: "127.0.0.1:1", User: "root"}
	e, _ := environment(t, d)
	d.machines[0].SSH.KeyFile = e.Home.Key()
	if err := e.Home.Make(); err != nil {
		t.Fatal(err)
	}
	if _, err := tunnel.EnsureKey(e.Home.Key()); err != nil {
		t.Fatal(err)
	}
	// Nothing is pinned: the driver is asked, and only then the machine.
	_, err = e.connect(t.Context(), d.machines[0])
	if d.asked != 1 || err == nil || errors.Is(err, tunnel.ErrNotPinned) {
		t.Errorf("asked %d times, then %v", d.asked, err)
	}
	pins, err := os.ReadFile(e.Home.KnownHosts("dev"))
	if want := "dev-manager-1 " + string(ssh.MarshalAuthorizedKey(key)); err != nil || string(pins) != want {
		t.Errorf("pinned %q, not %q, %v", pins, want, err)
	}
	// It is pinned: the driver is not asked again.
	if _, err = e.connect(t.Context(), d.machines[0]); d.asked != 1 || err == nil {
		t.Errorf("asked %d times, then %v", d.asked, err)
	}
	// A driver that says that the machine will not boot ends the waiting for it.
	d.key = nil
	if err := os.Remove(e.Home.KnownHosts("dev")); err != nil {
		t.Fatal(err)
	}
	if _, err = e.boot(t.Context(), d.machines[0]); !errors.Is(err, providers.ErrBoot) {
		t.Errorf("error %v", err)
	}
	// A driver without such a way leaves it at a refusal.
	e.Drivers["fake"] = &d.fake
	if _, err = e.connect(t.Context(), d.machines[0]); !errors.Is(err, tunnel.ErrNotPinned) {
		t.Errorf("error %v", err)
	}
}
