package kernel

import (
	"net"
	"net/http"
	"strings"
	"testing"
)

// On hosts that are far apart, with a narrow path to one of them: the swarm forms
// and stays formed, a database runs on an encrypted overlay that carries large
// packets, an app answers through every node, and nothing else is let in. All of
// it is in one environment, for it takes the emulated processor minutes to make
// one.
func TestFarHosts(t *testing.T) {
	narrow(t)
	t.Cleanup(func() { skep(t, "nodes", "rm", "-f", env) })
	create(t)
	wantReady(t)
	if got := docker(t, "node", "inspect", "-f", "'{{.Spec.Labels}}'", env+"-worker-2"); !strings.Contains(got, "skep.mtu:1400") {
		t.Errorf("the narrow host has the labels %s", got)
	}
	encrypted(t)
	published(t)
	guarded(t)
	updated(t)
	wantReady(t)
}

// narrow gives the third host a link that takes less than a full packet.
func narrow(t *testing.T) {
	for _, args := range [][]string{
		{"ip", "-n", "h3", "link", "set", "eth0", "mtu", "1400"},
		{"ip", "link", "set", "v3", "mtu", "1400"},
	} {
		if out, err := run(t.Context(), args...); err != nil {
			t.Fatal(out, err)
		}
	}
}

func encrypted(t *testing.T) {
	skep(t, "rqlite", "create", env)
	got := docker(t, "network", "inspect", "-f", "'{{.Options}}'", "dbnet")
	if !strings.Contains(got, "encrypted") || !strings.Contains(got, "mtu:1400") {
		t.Errorf("the overlay has the options %s", got)
	}
	db := "http://" + strings.Fields(skep(t, "rqlite", "open", env))[0]
	large := strings.Repeat("0123456789abcdef", 1<<14)
	eventually(t, "a write of 256 KiB", func() error {
		return answers(t.Context(), http.MethodPost, db+"/db/execute",
			`["CREATE TABLE IF NOT EXISTS t (x TEXT)", "INSERT INTO t VALUES ('`+large+`')"]`, "rows_affected")
	})
	if err := answers(t.Context(), http.MethodPost, db+"/db/query?level=strong", `["SELECT substr(x, 1, 16) FROM t"]`, "0123456789abcdef"); err != nil {
		t.Error(err)
	}
	// Every server has it, the one behind the narrow path among them.
	script := `c=$(docker ps -qf label=com.docker.swarm.service.name=rqlite); docker exec $c bash -c 'exec 3<>/dev/tcp/127.0.0.1/4001; ` +
		`printf "GET /db/query?level=none&q=SELECT%%20length(x)%%20FROM%%20t HTTP/1.0\r\n\r\n" >&3; cat <&3'`
	eventually(t, "the narrow host has all of it", func() error {
		out := skep(t, "nodes", "ssh", env, env+"-worker-2", "--", script)
		if !strings.Contains(out, "262144") {
			return errText(out)
		}
		return nil
	})
	for n := range addresses() {
		// Of each of the two others, a state in either direction.
		if states := onHost(t, n+1, "ip", "xfrm", "state"); strings.Count(states, "proto esp") < 4 {
			t.Errorf("host %d encrypts nothing: %s", n+1, states)
		}
	}
}

func deploy(more ...string) []string {
	return append([]string{"app", "deploy", "-p", "8080:9090", "-r", "2", "hello", "hello:0.1", env}, more...)
}

func published(t *testing.T) {
	skep(t, deploy()...)
	if got := docker(t, "service", "inspect", "-f", "'{{json .Spec.EndpointSpec}}'", "hello"); !strings.Contains(got, `"ingress"`) {
		t.Errorf("published as %s", got)
	}
	for _, a := range addresses() { // two tasks, three nodes
		eventually(t, "the app through "+a, func() error {
			return answers(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(a, "8080")+"/bar", "", `Hello, "/bar"`)
		})
	}
}

func guarded(t *testing.T) {
	for _, a := range addresses() {
		for port, want := range map[string]bool{"22": true, "8080": true, "2376": false, "2377": false, "4789": false, "7946": false} {
			if got := open(t.Context(), net.JoinHostPort(a, port)); got != want {
				t.Errorf("port %s of %s is open: %v", port, a, got)
			}
		}
	}
}
