package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// load asks an app for a page at a steady rate, whether earlier answers came or
// not, and counts what failed. A client of several nodes goes on to the next
// one where a node refuses the connection, as browsers do with the addresses
// of a name. A page that was asked for and got no byte of an answer is asked for
// once more, as HTTP allows and browsers do, and counted: where a port is the
// node's own, Docker's proxy takes connections for a moment longer than the
// task that it passes them to.
type load struct {
	nodes   []string // host:port
	stop    context.CancelFunc
	done    chan struct{}
	asked   atomic.Int64
	refused atomic.Int64 // connections that went on to another node
	again   atomic.Int64 // pages that were asked for once more
	slowest atomic.Int64

	mu     sync.Mutex
	failed []error
	said   map[string]int // answers by their first word
}

const (
	loadRate    = 200 // requests a second
	loadPatient = 30 * time.Second
)

func startLoad(t *testing.T, nodes ...string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{nodes: nodes, stop: stop, done: make(chan struct{}), said: map[string]int{}}
	go l.run(ctx)
	t.Cleanup(func() { l.end() })
	return l
}

func (l *load) run(ctx context.Context) {
	defer close(l.done)
	// Every other request has a connection of its own, and the rest share some.
	fresh := &http.Client{Timeout: loadPatient, Transport: &http.Transport{DisableKeepAlives: true, DialContext: l.dial}}
	kept := &http.Client{Timeout: loadPatient, Transport: &http.Transport{MaxIdleConnsPerHost: 4, DialContext: l.dial}}
	defer kept.CloseIdleConnections()
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(time.Second / loadRate)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		client := kept
		if n%2 == 0 {
			client = fresh
		}
		asking.Go(func() { l.ask(context.WithoutCancel(ctx), client) })
	}
}

// ask outlives the load's context: what was asked is to be answered.
func (l *load) ask(ctx context.Context, client *http.Client) {
	begin := time.Now()
	text, err := get(ctx, client, "http://hello/load")
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		l.again.Add(1)
		text, err = get(ctx, client, "http://hello/load")
	}
	l.asked.Add(1)
	for took := int64(time.Since(begin)); ; {
		most := l.slowest.Load()
		if took <= most || l.slowest.CompareAndSwap(most, took) {
			break
		}
	}
	word, _, _ := strings.Cut(text, ",")
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, fmt.Errorf("%s: %w", begin.Format("05.000"), err))
		return
	}
	l.said[word]++
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return string(text), err
}

// dial connects to any node that takes the connection.
func (l *load) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	var errs []error
	for range 3 { // a node may be on its way out as another is coming
		for _, i := range rand.Perm(len(l.nodes)) {
			conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, l.nodes[i])
			if err == nil {
				return conn, nil
			}
			l.refused.Add(1)
			errs = append(errs, err)
		}
	}
	return nil, errors.Join(errs...)
}

// end stops the load and returns once every request has its answer.
func (l *load) end() {
	l.stop()
	<-l.done
}

// report says how it went and fails the test for what failed.
func (l *load) report(t *testing.T) {
	t.Helper()
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d requests, %d failed, slowest %s, %d connections went on to another node, %d pages asked for again; answers %v",
		l.asked.Load(), len(l.failed), time.Duration(l.slowest.Load()).Round(time.Millisecond), l.refused.Load(), l.again.Load(), l.said)
	for i, err := range l.failed {
		if i == 10 {
			break
		}
		t.Errorf("a request failed: %v", err)
	}
}
