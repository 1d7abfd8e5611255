package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// disco is a discovery service in a process of its own, on a port and a file
// that it keeps when it is started again.
type disco struct {
	t       *testing.T
	base    string
	file    string
	process *exec.Cmd
	client  *http.Client
}

func startDisco(t *testing.T, clients int) *disco {
	t.Helper()
	d := &disco{t: t, file: t.TempDir() + "/db"}
	l := listen(t, "0")
	d.base = "http://" + l.Addr().String()
	_ = l.Close()
	d.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	d.start()
	t.Cleanup(d.kill)
	return d
}

// start runs it on one core, and returns when it answers.
func (d *disco) start() {
	d.t.Helper()
	d.process = exec.CommandContext(context.Background(), binary(), "discovery", "serve", "-q", "--rate", "0",
		"--addr", strings.TrimPrefix(d.base, "http://"), "--data", d.file)
	d.process.Env = append(os.Environ(), "GOMAXPROCS=1")
	d.process.Stderr = os.Stderr
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
	eventually(d.t, time.Minute, "discovery answers", func() error {
		_, err := page(d.base + "/healthz")
		return err
	})
}

func (d *disco) kill() {
	_ = d.process.Process.Kill()
	_ = d.process.Wait()
}

// ask is one request; what it returns has been acknowledged.
func (d *disco) ask(method, path, body string) (nodes []string, id string, err error) {
	request, err := http.NewRequestWithContext(context.Background(), method, d.base+"/"+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	response, err := d.client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%s: %s: %w", response.Status, text, err)
	}
	var answer struct {
		ID    string `json:"disco_id"`
		Nodes []string
	}
	err = json.Unmarshal(text, &answer)
	return answer.Nodes, answer.ID, err
}

func (d *disco) ids(n int) []string {
	d.t.Helper()
	var ids []string
	for range n {
		_, id, err := d.ask(http.MethodPost, "", "")
		if err != nil {
			d.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// Of 10,000 registrations that 100 clients make at once none is lost, though
// the service is killed while they do, and again when they have done.
func TestDiscoveryLosesNothing(t *testing.T) {
	const groups, clients, each = 100, 100, 100
	d := startDisco(t, clients)
	ids := d.ids(groups)
	var acknowledged, failures atomic.Int64
	var wait sync.WaitGroup
	begin := time.Now()
	for c := range clients {
		wait.Go(func() {
			for n := range each {
				body := fmt.Sprintf(`{"addr":"http://10.0.%d.%d:4001"}`, c, n)
				for try := 0; ; try++ {
					_, _, err := d.ask(http.MethodPost, ids[(c+n)%groups], body)
					if err == nil {
						break
					}
					if failures.Add(1); try == 1000 {
						t.Error(err)
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
				acknowledged.Add(1)
			}
		})
	}
	eventually(t, time.Minute, "half of them", func() error {
		if n := acknowledged.Load(); n < clients*each/2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	d.kill()
	at := acknowledged.Load()
	d.start()
	wait.Wait()
	t.Logf("%d registrations in %s, killed after %d, %d requests failed", acknowledged.Load(), time.Since(begin), at, failures.Load())
	if failures.Load() == 0 {
		t.Error("nobody was disturbed by the kill")
	}
	d.kill()
	d.start()
	seen := map[string]bool{}
	for _, id := range ids {
		nodes, _, err := d.ask(http.MethodGet, id, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if seen[id+n] {
				t.Errorf("%s has %s twice", id, n)
			}
			seen[id+n] = true
		}
	}
	for c := range clients {
		for n := range each {
			id := ids[(c+n)%groups]
			if !seen[id+fmt.Sprintf("http://10.0.%d.%d:4001", c, n)] {
				t.Errorf("lost: client %d, registration %d", c, n)
			}
		}
	}
	if len(seen) != clients*each {
		t.Errorf("%d registrations", len(seen))
	}
}

// What a core answers is counted by the time that the service used of one, so
// it is the same on a busy machine.
func TestDiscoveryReadsOnOneCore(t *testing.T) {
	const clients, reads, want, memory = 50, 60_000, 5000, 150 << 10 // KiB
	d := startDisco(t, clients)
	ids := d.ids(10)
	for _, id := range ids {
		for n := range 5 {
			if _, _, err := d.ask(http.MethodPost, id, fmt.Sprintf(`{"addr":"http://10.0.0.%d:4001"}`, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, begin := d.cpu(), time.Now()
	var wait sync.WaitGroup
	for c := range clients {
		wait.Go(func() {
			for n := range reads / clients {
				if nodes, _, err := d.ask(http.MethodGet, ids[(c+n)%len(ids)], ""); err != nil || len(nodes) != 5 {
					t.Errorf("%v, %v", nodes, err)
					return
				}
			}
		})
	}
	wait.Wait()
	used := d.cpu() - before
	rate := float64(reads) / used.Seconds()
	peak := d.peak()
	t.Logf("%d reads in %s took %s of a core: %.0f a second of it; %d KiB at most", reads, time.Since(begin), used, rate, peak)
	if rate < want {
		t.Errorf("%.0f reads a second on one core, not %d", rate, want)
	}
	if peak > memory {
		t.Errorf("the service took %d KiB", peak)
	}
	if err := d.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.process.Wait(); err != nil {
		t.Errorf("stopped: %v", err)
	}
}

// cpu is the time that the process has used.
func (d *disco) cpu() time.Duration {
	d.t.Helper()
	text := d.proc("stat")
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	var ticks int64
	for _, f := range fields[11:13] {
		var n int64
		if _, err := fmt.Sscan(f, &n); err != nil {
			d.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ, which is 100 on Linux
}

// peak is the most memory that the process has had, in KiB.
func (d *disco) peak() int {
	d.t.Helper()
	var n int
	_, rest, _ := strings.Cut(d.proc("status"), "VmHWM:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

func (d *disco) proc(file string) string {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.process.Process.Pid, file))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// Plain containers, whose names nobody resolves, become a cluster by what they
// tell the service.
func TestAnnouncedServersFormACluster(t *testing.T) {
	u := newUser(t)
	const prefix = "skep-test-announce-"
	names := []string{prefix + "disco", prefix + "1", prefix + "2", prefix + "3"}
	remove := func() {
		for _, n := range names {
			_, _ = output("docker", "rm", "-f", "-v", n)
		}
	}
	remove()
	t.Cleanup(remove)
	run := func(name string, command ...string) string {
		docker(t, append([]string{"run", "-d", "--name", name, "-v", binary() + ":/skep:ro", rethinkImage}, command...)...)
		return docker(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
	}
	service := "http://" + run(names[0], "/skep", "discovery", "serve", "--data", "/tmp/db") + ":8080"
	var id string
	eventually(t, time.Minute, "an id", func() error {
		out, err := output("curl", "-sSfL", "-X", "POST", service)
		if err != nil {
			return err
		}
		var made struct {
			ID string `json:"disco_id"`
		}
		err = json.Unmarshal([]byte(out), &made)
		id = made.ID
		return err
	})
	// A server needs its address before it can tell it: the shell asks.
	const server = `exec /skep discovery announce --url "$0" --id "$1" --addr "$(hostname -i)":29015 --ttl 5s --join-format '--join {{.Host}}:29015' -- \
		rethinkdb --bind all --no-update-check --server-name "$2"`
	addresses := map[string]string{}
	var wait sync.WaitGroup
	var mu sync.Mutex
	for i, name := range names[1:] {
		wait.Go(func() {
			address := run(name, "bash", "-c", server, service, id, fmt.Sprintf("s%d", i+1))
			mu.Lock()
			defer mu.Unlock()
			addresses[name] = address
		})
	}
	wait.Wait()
	for _, name := range names[1:] {
		joined(t, "http://"+addresses[name]+":8080/", 3)
	}

	// One that is stopped withdraws; one that is killed goes when its time is over.
	registered := func(want int) {
		t.Helper()
		eventually(t, time.Minute, fmt.Sprintf("%d registered", want), func() error {
			out, err := page(service + "/" + id)
			if n := strings.Count(out, ":29015"); err == nil && n != want {
				err = fmt.Errorf("%d: %s", n, out)
			}
			return err
		})
	}
	registered(3)
	docker(t, "stop", "-t", "20", names[1])
	registered(2)
	docker(t, "kill", names[2])
	registered(1)
	// Back under the addresses that the engine gives them now, they find the one that stayed.
	docker(t, "start", names[1], names[2])
	registered(3)
	address := docker(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", names[3])
	joined(t, "http://"+address+":8080/", 3)
	if r := u.run("discovery", "announce", "--url", service, "--id", "nonsense", "--addr", "10.0.0.1:1", "--", "true"); r.code != 1 || !bytes.Contains([]byte(r.errs), []byte("no such id")) {
		t.Errorf("an id that there is not: %+v", r)
	}
}
