package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// The promise: so soon after a death new connections go elsewhere, and so
	// soon after the end of what kept everything from it a tunnel is itself.
	elsewhere = 2 * time.Second
	recovery  = 10 * time.Second

	// How long a task is killed again and again, and nodes are cut off. The
	// promise is for two minutes of the one and one of the other; these are
	// shorter, for the sake of everybody's time.
	killing = 40 * time.Second
	outage  = 20 * time.Second
)

// A tunnel outlives tasks, nodes, the network and its own process, at the same
// port, with nobody's help.
func TestTunnelOutlives(t *testing.T) {
	u := newUser(t)
	env := u.environment("tunnel")
	u.must("nodes", "create", env)
	u.must("app", "deploy", "-r", "3", "-e", "ADDR=:9090", "hello", helloImage, env)
	hello := u.open(env, "hello:9090")

	t.Run("a connection to a task that died is closed", func(t *testing.T) { closedWithItsTask(t, env, hello) })
	t.Run("tasks killed under load", func(t *testing.T) { tasksKilled(t, env, hello) })
	t.Run("a node frozen", func(t *testing.T) { nodeFrozen(t, env, hello) })
	t.Run("all nodes frozen", func(t *testing.T) {
		cutOff(t, hello, func(n string) { docker(t, "pause", n) }, func(n string) { docker(t, "unpause", n) }, nodesOf(env)...)
	})
	t.Run("packets dropped", func(t *testing.T) {
		rule := func(how string) func(string) {
			return func(n string) {
				docker(t, "exec", n, "iptables", how, "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP")
			}
		}
		cutOff(t, hello, rule("-I"), rule("-D"), nodesOf(env)...)
	})
	t.Run("its process killed", func(t *testing.T) { processKilled(t, u, env, hello) })
	t.Run("ends of other kinds", func(t *testing.T) { otherEnds(t, u, env) })

	u.must("tunnel", "close", env)
	if left := u.must("tunnel", "ls", "--json").out; strings.TrimSpace(left) != "[]" {
		t.Errorf("tunnels left: %s", left)
	}
}

func nodesOf(env string) []string {
	return []string{env + "-manager-1", env + "-worker-1", env + "-worker-2"}
}

// tasksOf lists a service's containers, as `node container`.
func tasksOf(t *testing.T, env, service string) (all [][2]string) {
	t.Helper()
	for _, n := range nodesOf(env) {
		out := docker(t, "exec", n, "docker", "ps", "-q", "--no-trunc", "--filter", "label=com.docker.swarm.service.name="+service)
		for c := range strings.FieldsSeq(out) {
			all = append(all, [2]string{n, c})
		}
	}
	return all
}

// whoami asks a task something, over a connection of its own.
func whoami(ctx context.Context, address string, most time.Duration) error {
	client := &http.Client{Timeout: most, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/whoami", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func closedWithItsTask(t *testing.T, env, hello string) {
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", hello)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// Half a request: the connection is open and its task waits for the rest.
	if _, err := io.WriteString(conn, "GET /whoami HTTP/1.1\r\nHost: hello\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := whoami(t.Context(), hello, time.Minute); err != nil { // which takes longer
		t.Fatal(err)
	}
	for _, task := range tasksOf(t, env, "hello") {
		docker(t, "exec", task[0], "docker", "kill", task[1])
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	var late net.Error
	begin := time.Now()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.As(err, &late) && late.Timeout() {
		t.Errorf("a connection to a dead task hangs: %v", err)
	}
	t.Logf("closed %s after the kill", time.Since(begin).Round(time.Millisecond))
	allThree(t, env)
}

// allThree waits until the service has all its tasks again.
func allThree(t *testing.T, env string) {
	t.Helper()
	eventually(t, 2*time.Minute, "three tasks", func() error {
		if n := len(tasksOf(t, env, "hello")); n != 3 {
			return fmt.Errorf("%d run", n)
		}
		return nil
	})
}

// steady sends fifty requests a second until stop is called, which returns when
// those that failed had started, and how many there were.
func steady(address string) (stop func() (failed []failure, total int)) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var failures []failure
	total := 0
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			total++
			running.Go(func() {
				begin := time.Now()
				if err := whoami(context.WithoutCancel(ctx), address, time.Minute); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failures = append(failures, failure{begin, err})
				}
			})
		}
	})
	return func() ([]failure, int) {
		cancel()
		running.Wait()
		return failures, total
	}
}

type failure struct {
	at  time.Time
	err error
}

func tasksKilled(t *testing.T, env, hello string) {
	stop := steady(hello)
	var kills []time.Time
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for end := time.Now().Add(killing); time.Now().Before(end); <-tick.C {
		tasks := tasksOf(t, env, "hello")
		if len(tasks) == 0 {
			t.Fatal("no task runs")
		}
		victim := tasks[len(kills)%len(tasks)]
		docker(t, "exec", victim[0], "docker", "kill", victim[1])
		kills = append(kills, time.Now())
	}
	failed, total := stop()
	soon := 0
	for _, f := range failed {
		after := time.Hour
		for _, k := range kills {
			if d := f.at.Sub(k); d > -elsewhere { // the kill is a moment before it is noted
				after = min(after, d)
			}
		}
		if after > elsewhere {
			t.Errorf("a request started %s after a kill failed: %v", after, f.err)
		}
		soon++
	}
	t.Logf("%d kills, %d requests, %d failed right after a kill", len(kills), total, soon)
	if total < int(killing/time.Second)*25 {
		t.Errorf("only %d requests were made", total)
	}
	allThree(t, env)
}

// nodeFrozen stops a worker: connections go to the others.
func nodeFrozen(t *testing.T, env, hello string) {
	worker := env + "-worker-1"
	stop := steady(hello)
	docker(t, "pause", worker)
	frozen := time.Now()
	timer := time.NewTimer(outage / 2)
	<-timer.C
	failed, total := stop()
	docker(t, "unpause", worker)
	for _, f := range failed {
		if d := f.at.Sub(frozen); d > elsewhere {
			t.Errorf("a request started %s after a node froze failed: %v", d, f.err)
		}
	}
	t.Logf("%d requests, %d failed right after the node froze", total, len(failed))
	allThree(t, env)
}

// cutOff takes nodes away for a while and sees how soon after it the tunnel is
// itself.
func cutOff(t *testing.T, hello string, off, on func(string), nodes ...string) {
	for _, n := range nodes {
		off(n)
		defer func() {
			if t.Failed() {
				_, _ = output("docker", "unpause", n)
			}
		}()
	}
	begin := time.Now()
	for time.Since(begin) < outage {
		if err := whoami(t.Context(), hello, 3*time.Second); err == nil {
			t.Error("it answers although everything is cut off")
			break
		}
	}
	for _, n := range nodes {
		on(n)
	}
	took := eventually(t, time.Minute, "an answer after the outage", func() error {
		return whoami(t.Context(), hello, 2*time.Second)
	})
	t.Logf("recovered %s after the outage", took.Round(time.Millisecond))
	if took > recovery {
		t.Errorf("recovered only %s after the outage", took)
	}
}

// tunnelRow is a row of `tunnel ls --json`.
type tunnelRow struct {
	Service   string
	LocalPort int `json:"local_port"`
	PID       int
	Alive     bool
	LatencyMS float64 `json:"latency_ms"`
	Total     int
	Received  int
	Error     string
}

func (u *user) tunnels(env string, flags ...string) (all []tunnelRow) {
	u.t.Helper()
	r := u.run(append([]string{"tunnel", "ls", env, "--json"}, flags...)...)
	if err := json.Unmarshal([]byte(r.out), &all); err != nil {
		u.t.Fatalf("tunnel ls --json: %v: %s", err, r.out)
	}
	return all
}

func processKilled(t *testing.T, u *user, env, hello string) {
	before := u.tunnels(env)
	if len(before) != 1 || !before[0].Alive || before[0].Received == 0 {
		t.Fatalf("tunnels: %+v", before)
	}
	holder, err := os.FindProcess(before[0].PID)
	if err == nil {
		err = holder.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	took := eventually(t, time.Minute, "an answer after kill -9", func() error {
		return whoami(t.Context(), hello, 2*time.Second)
	})
	if took > recovery {
		t.Errorf("recovered only %s after kill -9", took)
	}
	after := u.tunnels(env, "--check")
	if len(after) != 1 || !after[0].Alive || after[0].PID == before[0].PID || after[0].LatencyMS <= 0 {
		t.Errorf("tunnels after kill -9: %+v", after)
	}
}

// otherEnds are the local ends that are not in the background or no port, and
// what is refused.
func otherEnds(t *testing.T, u *user, env string) {
	u.refused(2, []string{"UDP", "TCP only"}, "tunnel", "open", env, "hello:9090/udp")
	u.refused(2, []string{"no IP address"}, "tunnel", "open", "--bind", "everywhere", env, "hello:9090")
	u.refused(1, []string{"already", "close it first"}, "tunnel", "open", "--bind", "0.0.0.0", env, "hello:9090")
	u.must("tunnel", "close", env, "hello:9090")
	socket := filepath.Join(u.home, "hello.sock")
	u.must("tunnel", "open", "--socket", socket, env, "hello:9090")
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /whoami HTTP/1.0\r\n\r\n")
	if text, err := io.ReadAll(conn); err != nil || !strings.Contains(string(text), "200 OK") {
		t.Errorf("over the socket: %q, %v", text, err)
	}
	_ = conn.Close()
	u.must("tunnel", "close", env)
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket is left")
	}

	c := u.command(t.Context(), "tunnel", "open", "--foreground", "--json", env, "hello:9090")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var held []tunnelRow
	if err := json.NewDecoder(out).Decode(&held); err != nil || len(held) != 1 {
		t.Fatalf("tunnel open --foreground: %v, %+v", err, held)
	}
	if err := whoami(t.Context(), fmt.Sprintf("localhost:%d", held[0].LocalPort), time.Minute); err != nil {
		t.Error(err)
	}
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 130 {
		t.Errorf("Ctrl-C of a foreground tunnel: exit %d, want 130", code)
	}
	if err := whoami(t.Context(), fmt.Sprintf("localhost:%d", held[0].LocalPort), time.Second); err == nil {
		t.Error("it answers after its end")
	}
}
