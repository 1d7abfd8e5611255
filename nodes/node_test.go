package nodes

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"skep/providers"
	"skep/swarm"
	"skep/tunnel"

	api "github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/volume"
	"golang.org/x/crypto/ssh"
)

// village is a swarm that is played: the engines of its nodes answer over real
// SSH, and say of the swarm what the test has them say. What a real one does is
// seen in the end-to-end tests; here is what it would take a real one long to be
// brought to.
type village struct {
	t *testing.T
	e *Environment
	d *fake

	mu      sync.Mutex
	members []api.Node                 // as every manager sees them
	states  map[string]api.Info        // what a node says of itself, where that is not what its member's entry says
	volumes map[string][]volume.Volume // by node
	did     []string                   // what the swarm and the driver were told, in order
	stays   int                        // how many looks a demoted manager still is one
}

// found makes the environment dev of the machines in short form, all of them
// ready members.
func found(t *testing.T, short string) *village {
	t.Helper()
	v := &village{t: t, members: parseMembers(short), states: map[string]api.Info{}, volumes: map[string][]volume.Volume{}}
	v.d = &fake{machines: parseMachines(strings.ReplaceAll(short, "-", "")), deleting: func(m providers.Machine) { v.note("delete " + shorten(m.Name)) }}
	v.e, _ = environment(t, v.d)
	if err := v.e.Home.Make(); err != nil {
		t.Fatal(err)
	}
	if _, err := tunnel.EnsureKey(v.e.Home.Key()); err != nil {
		t.Fatal(err)
	}
	keys := map[string]ssh.PublicKey{}
	for i := range v.members {
		v.members[i].Status.State = api.NodeStateReady
		v.members[i].Spec.Labels = map[string]string{swarm.LabelDriver: "fake"}
	}
	for i, m := range v.d.machines {
		address, key := v.serve(m.Name)
		v.d.machines[i].SSH = tunnel.Endpoint{Name: m.Name, Address: address, User: "root", KeyFile: v.e.Home.Key()}
		keys[m.Name] = key
	}
	if err := tunnel.Pin(v.e.Home.KnownHosts("dev"), keys); err != nil {
		t.Fatal(err)
	}
	return v
}

// says has a node say something else of itself than the swarm does.
func (v *village) says(node string, state api.Info) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.states[long(node)] = state
}

func (v *village) note(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.did = append(v.did, what)
}

// serve is a node: an sshd that lets everybody in and forwards any unix socket
// to the node's engine.
func (v *village) serve(name string) (address string, key ssh.PublicKey) {
	v.t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		v.t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		v.t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(signer)
	ln, err := (&net.ListenConfig{}).Listen(v.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		v.t.Fatal(err)
	}
	sockets := make(channels)
	engine := &http.Server{Handler: v.engine(name), ReadHeaderTimeout: time.Minute}
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Serve(sockets) })
	running.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { sockets.accept(raw, config) })
		}
	})
	v.t.Cleanup(func() {
		v.e.Close() // ends the connections, and with them what accept does
		_ = ln.Close()
		_ = engine.Close()
		running.Wait()
	})
	return ln.Addr().String(), signer.PublicKey()
}

// channels are a listener that accepts the SSH channels which are sent to it.
type channels chan net.Conn

func (c channels) accept(raw net.Conn, config *ssh.ServerConfig) {
	defer func() { _ = raw.Close() }()
	_, opened, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for o := range opened {
		if o.ChannelType() != "direct-streamlocal@openssh.com" {
			_ = o.Reject(ssh.Prohibited, "sockets only")
			continue
		}
		channel, requests, err := o.Accept()
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		c <- &channelConn{channel, raw}
	}
}

func (c channels) Accept() (net.Conn, error) {
	conn, ok := <-c
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (c channels) Close() error   { close(c); return nil }
func (c channels) Addr() net.Addr { return &net.UnixAddr{Name: "docker.sock", Net: "unix"} }

// channelConn has of a net.Conn what a channel lacks from the one below it.
type channelConn struct {
	ssh.Channel
	below net.Conn
}

func (c *channelConn) LocalAddr() net.Addr              { return c.below.LocalAddr() }
func (c *channelConn) RemoteAddr() net.Addr             { return c.below.RemoteAddr() }
func (c *channelConn) SetDeadline(time.Time) error      { return nil }
func (c *channelConn) SetReadDeadline(time.Time) error  { return nil }
func (c *channelConn) SetWriteDeadline(time.Time) error { return nil }

var (
	versioned = regexp.MustCompile(`^/v1\.[0-9]+`)
	ofNode    = regexp.MustCompile(`^(GET|POST|DELETE) /nodes/([^/]+)(/update)?$`)
)

// engine plays the Docker engine of a node.
func (v *village) engine(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		defer v.mu.Unlock()
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Content-Type", "application/json")
		call := r.Method + " " + versioned.ReplaceAllString(r.URL.Path, "")
		if m := ofNode.FindStringSubmatch(call); m != nil {
			v.member(w, r, name, m[2])
			return
		}
		switch call {
		case "HEAD /_ping", "GET /_ping":
		case "GET /info":
			reply(w, http.StatusOK, system.Info{Swarm: v.state(name)})
		case "GET /nodes":
			if !v.state(name).ControlAvailable {
				reply(w, http.StatusServiceUnavailable, map[string]string{"message": "This node is not a swarm manager"})
				return
			}
			reply(w, http.StatusOK, v.members)
		case "GET /volumes":
			found := volume.ListResponse{}
			for _, of := range v.volumes[name] {
				found.Volumes = append(found.Volumes, &of)
			}
			reply(w, http.StatusOK, found)
		case "GET /tasks", "GET /services":
			reply(w, http.StatusOK, []any{})
		case "POST /swarm/leave":
			v.did = append(v.did, "leave "+shorten(name))
			reply(w, http.StatusOK, nil)
		default:
			v.t.Errorf("unexpected %s on %s", call, name)
			reply(w, http.StatusNotImplemented, map[string]string{"message": "not played"})
		}
	})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// state is what the node says of its own place.
func (v *village) state(name string) api.Info {
	if s, ok := v.states[name]; ok {
		return s
	}
	i := slices.IndexFunc(v.members, func(n api.Node) bool { return n.Description.Hostname == name })
	if i < 0 {
		return api.Info{LocalNodeState: api.LocalNodeStateInactive}
	}
	return api.Info{NodeID: v.members[i].ID, LocalNodeState: api.LocalNodeStateActive, ControlAvailable: v.members[i].ManagerStatus != nil}
}

// member plays one entry of the swarm's list. An order to demote takes a few
// looks to go through, as raft does.
func (v *village) member(w http.ResponseWriter, r *http.Request, asked, id string) {
	i := slices.IndexFunc(v.members, func(n api.Node) bool { return n.ID == id })
	if i < 0 {
		reply(w, http.StatusNotFound, map[string]string{"message": "node " + id + " not found"})
		return
	}
	n := &v.members[i]
	host := shorten(n.Description.Hostname)
	switch r.Method {
	case http.MethodGet:
		if n.Spec.Role == api.NodeRoleWorker && n.ManagerStatus != nil {
			if v.stays--; v.stays < 0 {
				n.ManagerStatus = nil
				v.did = append(v.did, "demoted "+host)
			}
		}
		reply(w, http.StatusOK, n)
	case http.MethodPost:
		var spec api.NodeSpec
		_ = json.NewDecoder(r.Body).Decode(&spec)
		if spec.Role != n.Spec.Role {
			v.did = append(v.did, fmt.Sprintf("make %s a %s", host, spec.Role))
			if asked == n.Description.Hostname {
				v.t.Errorf("%s is asked to demote itself", host)
			}
		}
		if spec.Availability != n.Spec.Availability {
			v.did = append(v.did, string(spec.Availability)+" "+host)
		}
		n.Spec = spec
		reply(w, http.StatusOK, nil)
	case http.MethodDelete:
		v.did = append(v.did, "strike "+host)
		v.members = slices.Delete(v.members, i, i+1)
		reply(w, http.StatusOK, nil)
	}
}

func (v *village) has(did ...string) {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Equal(v.did, did) {
		v.t.Errorf("it went\n\t%s\nnot\n\t%s", strings.Join(v.did, "\n\t"), strings.Join(did, "\n\t"))
	}
}
