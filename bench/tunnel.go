//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	wireImage   = "skep-test/wire:1"
	wireApp     = "wire"
	wirePort    = "9000"
	cipher      = "aes128-gcm@openssh.com"
	connections = 1000
	atATime     = 100
	streamBytes = 10 * mib

	// distance is the round trip of the far part, and farBytes what is bulk
	// over it: a window of 2 MiB lets through 25 MiB a second.
	distance = 80 * time.Millisecond
	farBytes = 64 * mib
	farConns = 20

	settleTime = 30 * time.Second
)

// side is a tunnel to the wire image, and the process that holds it.
type side struct {
	wire wire
	pid  int
}

// tunnels are both of them: skep's, and `ssh -L` with the same cipher to the
// same sshd, which leads to the same address.
type tunnels struct {
	b         *bench
	env       string
	node      string // that the wire image runs on
	address   string // of it, as seen from there
	skep, ssh side
	end       func() error // of the ssh process
}

// tunnel compares skep's tunnels with OpenSSH's.
func tunnel(ctx context.Context, b *bench) (measured []measure, err error) {
	t, err := b.tunnels(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	for _, do := range []func(context.Context) ([]measure, error){t.bulk, t.many, t.trips, t.idle} {
		found, err := do(ctx)
		if err != nil {
			return measured, err
		}
		measured = append(measured, found...)
	}
	return measured, nil
}

// far is tunnel at a distance. It is made by a program on the node that passes
// each byte on late, in front of its sshd: round trips take their time, while
// nothing is lost, as it is on real lines.
func far(ctx context.Context, b *bench) (measured []measure, err error) {
	t, err := b.tunnels(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	back, err := t.moveAway(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, back(context.WithoutCancel(ctx))) }()
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	down, err := t.compare(ctx, "tunnel at 80 ms, 64 MiB down", ratioBar(1), func(ctx context.Context, w wire) error { return w.down(ctx, farBytes) })
	if err != nil {
		return nil, err
	}
	up, err := t.compare(ctx, "tunnel at 80 ms, 64 MiB up", ratioBar(1), func(ctx context.Context, w wire) error { return w.up(ctx, farBytes) })
	if err != nil {
		return nil, err
	}
	// A direct connection would answer after two round trips.
	once := measure{name: "tunnel at 80 ms, new connection to answer", unit: milliseconds, bar: medianBar((3*distance + 20*time.Millisecond).Seconds(), "3 round trips and 20 ms")}
	for range farConns {
		for _, s := range []struct {
			of   side
			into *[]float64
		}{{t.skep, &once.skep}, {t.ssh, &once.floor}} {
			begin := time.Now()
			if err := s.of.wire.once(ctx); err != nil {
				return nil, err
			}
			*s.into = append(*s.into, time.Since(begin).Seconds())
		}
	}
	return []measure{down, up, once}, nil
}

// tunnels deploys the wire image to an environment and finds it there.
func (b *bench) tunnels(ctx context.Context) (*tunnels, error) {
	if _, err := command(ctx, "testdata/wire/build.sh").run(); err != nil {
		return nil, err
	}
	env, err := b.three(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := b.skep(ctx, "app", "deploy", wireApp, wireImage, env); err != nil {
		return nil, err
	}
	t := &tunnels{b: b, env: env, end: func() error { return nil }}
	out, err := docker(ctx, "ps", "--filter", "label="+label+"="+env, "--format", "{{.Names}}")
	if err != nil {
		return nil, err
	}
	for _, node := range strings.Fields(out) {
		found, err := docker(ctx, "exec", node, "sh", "-c", "id=$(docker ps -q --filter label=com.docker.swarm.service.name="+wireApp+
			") && [ \"$id\" ] && docker inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' $id || true")
		if err != nil {
			return nil, err
		}
		if found != "" {
			t.node, t.address = node, found
		}
	}
	if t.node == "" {
		return nil, fmt.Errorf("no node of %s runs %s", env, wireImage)
	}
	return t, nil
}

// open opens both tunnels.
func (t *tunnels) open(ctx context.Context) error {
	r, err := t.b.skep(ctx, "tunnel", "open", "--json", t.env, wireApp+":"+wirePort)
	if err != nil {
		return err
	}
	var opened []struct {
		LocalPort int `json:"local_port"`
		PID       int
	}
	if err := json.Unmarshal([]byte(r.out), &opened); err != nil || len(opened) != 1 {
		return fmt.Errorf("skep tunnel open --json: %w: %s", err, r.out)
	}
	t.skep = side{wire(net.JoinHostPort("127.0.0.1", strconv.Itoa(opened[0].LocalPort))), opened[0].PID}
	return t.openSSH(ctx)
}

func (t *tunnels) openSSH(ctx context.Context) error {
	published, err := docker(ctx, "port", t.node, "22/tcp")
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(strings.Fields(published)[0])
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	local := ln.Addr().String()
	_ = ln.Close()
	ssh := command(ctx, "ssh", "-N", "-c", cipher, "-i", filepath.Join(t.b.home, "config_home/skep/id_ed25519"),
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ExitOnForwardFailure=yes",
		"-L", local+":"+net.JoinHostPort(t.address, wirePort), "-p", port, "root@"+host)
	if err := ssh.Start(); err != nil {
		return err
	}
	t.end = func() error {
		_ = ssh.Process.Kill()
		_ = ssh.Wait() // which says that it was killed
		return nil
	}
	t.ssh = side{wire(local), ssh.Process.Pid}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if err := t.ssh.wire.once(ctx); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (t *tunnels) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	_, err := t.b.skep(ctx, "tunnel", "close", t.env)
	_, rm := t.b.skep(ctx, "app", "rm", wireApp, t.env)
	return errors.Join(err, rm, t.end())
}

// compare measures both in turns.
func (t *tunnels) compare(ctx context.Context, name string, hold bar, do func(context.Context, wire) error) (measure, error) {
	timed := func(s side) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			begin := time.Now()
			err := do(ctx, s.wire)
			return time.Since(begin), err
		}
	}
	m, err := t.b.pair(name, timed(t.skep), timed(t.ssh))
	m.bar = hold
	return m, err
}

// bulk is 1 GiB each way, and what that costs the processes.
func (t *tunnels) bulk(ctx context.Context) (all []measure, err error) {
	for _, way := range []struct {
		name string
		do   func(wire, context.Context, int64) error
	}{{"down", wire.down}, {"up", wire.up}} {
		cpu := measure{name: "tunnel, CPU for 1 GiB " + way.name, unit: seconds, bar: ratioBar(1.5)}
		m, err := t.compare(ctx, "tunnel, 1 GiB "+way.name, ratioBar(1), func(ctx context.Context, w wire) error {
			s, spent := t.skep, &cpu.skep
			if w == t.ssh.wire {
				s, spent = t.ssh, &cpu.floor
			}
			before, err := processorTime(s.pid)
			if err != nil {
				return err
			}
			if err := way.do(w, ctx, gib); err != nil {
				return err
			}
			after, err := processorTime(s.pid)
			*spent = append(*spent, after-before)
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, m, cpu)
	}
	return all, nil
}

// many is many connections.
func (t *tunnels) many(ctx context.Context) (all []measure, err error) {
	for _, what := range []struct {
		name string
		do   func(context.Context, wire) error
	}{
		{"tunnel, 1,000 connections in sequence", func(ctx context.Context, w wire) error { return w.sequence(ctx, connections) }},
		{"tunnel, 1,000 connections, 100 at a time", func(ctx context.Context, w wire) error { return crowd(ctx, connections, atATime, w.once) }},
		{"tunnel, 100 streams of 10 MiB", func(ctx context.Context, w wire) error {
			return crowd(ctx, atATime, atATime, func(ctx context.Context) error { return w.down(ctx, streamBytes) })
		}},
	} {
		m, err := t.compare(ctx, what.name, ratioBar(1), what.do)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// trips is the round trip of one byte.
func (t *tunnels) trips(ctx context.Context) ([]measure, error) {
	half := measure{name: "tunnel, round trip, p50", unit: milliseconds, bar: ratioBar(1.1)}
	most := measure{name: "tunnel, round trip, p99", unit: milliseconds, bar: ratioBar(1.1)}
	for range t.b.rounds {
		a50, a99, err := t.skep.wire.trips(ctx, roundTrips)
		if err != nil {
			return nil, err
		}
		z50, z99, err := t.ssh.wire.trips(ctx, roundTrips)
		if err != nil {
			return nil, err
		}
		half.skep, half.floor = append(half.skep, a50.Seconds()), append(half.floor, z50.Seconds())
		most.skep, most.floor = append(most.skep, a99.Seconds()), append(most.floor, z99.Seconds())
	}
	return []measure{half, most}, nil
}

// idle is the memory that many connections with nothing to do hold. What bulk
// took before is given back soon after, not at once.
func (t *tunnels) idle(ctx context.Context) ([]measure, error) {
	m := measure{name: "tunnel, memory with 1,000 idle connections", unit: megabytes, bar: maximumBar(64e6, "64 MB")}
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	for range connections {
		conn, err := t.skep.wire.order(ctx, 'e', 0)
		if err != nil {
			return nil, err
		}
		open = append(open, conn)
		if err := echoByte(conn, make([]byte, 1)); err != nil {
			return nil, err
		}
	}
	for end := time.Now().Add(settleTime); ; time.Sleep(time.Second) {
		used, err := memory(t.skep.pid)
		if err != nil || used <= m.bar.most || time.Now().After(end) {
			m.skep = []float64{used}
			return []measure{m}, err
		}
	}
}

// moveAway puts the node's sshd at a distance, until back is called.
func (t *tunnels) moveAway(ctx context.Context) (back func(context.Context) error, err error) {
	script := fmt.Sprintf(`docker cp $(docker ps -q --filter label=com.docker.swarm.service.name=%s):/wire /usr/local/bin/wire &&
iptables -t nat -I PREROUTING -p tcp --dport 22 -j REDIRECT --to-ports 2222 &&
exec /usr/local/bin/wire delay :2222 127.0.0.1:22 %s`, wireApp, distance/2)
	if _, err := docker(ctx, "exec", "-d", t.node, "sh", "-c", script); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := docker(ctx, "exec", t.node, "iptables", "-t", "nat", "-D", "PREROUTING", "-p", "tcp", "--dport", "22", "-j", "REDIRECT", "--to-ports", "2222")
		return err
	}, until(ctx, t.node, "cat /proc/net/tcp6 /proc/net/tcp | grep -q ':08AE .* 0A '")
}

// processorTime is how many seconds a process has run.
func processorTime(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	const user, system, hertz = 11, 12, 100 // from the state on; the kernel's own unit
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	a, err := strconv.ParseFloat(fields[user], 64)
	if err != nil {
		return 0, err
	}
	z, err := strconv.ParseFloat(fields[system], 64)
	return (a + z) / hertz, err
}

// memory is how many bytes of a process are in memory.
func memory(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(text), "VmRSS:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil || !found {
		return 0, fmt.Errorf("/proc/%d/status does not tell the memory: %w", pid, err)
	}
	return kib * 1024, nil
}
