package cmd

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"skep/swarm"

	"github.com/docker/go-units"
	"golang.org/x/term"
)

const (
	redrawEvery = 100 * time.Millisecond
	plainEvery  = 10 * time.Second // a line a node, where lines stay
)

// progress tells how images travel: on a terminal a line for each node that is
// drawn anew, elsewhere a line for each node now and then until it has all.
type progress struct {
	log      *slog.Logger
	out      io.Writer
	terminal bool
	quiet    bool

	mu    sync.Mutex
	begun time.Time
	told  time.Time
	nodes map[string]*sending
	drawn int // lines
}

// sending is how far a node is.
type sending struct {
	swarm.Sent
	took time.Duration // until then
	told bool          // that it had all of it
}

func (s *sending) all() bool { return s.Bytes >= s.Size }

func (s *skep) progress() *progress {
	f, ok := s.Err.(*os.File)
	return &progress{
		log: s.log(), out: s.Err, quiet: s.quiet,
		terminal: ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())),
	}
}

func (p *progress) Begin(image string, lacking, nodes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Info(fmt.Sprintf("sending image %s to %d of %d nodes", cmp.Or(image, "without a name"), lacking, nodes))
	p.begun, p.told, p.nodes, p.drawn = time.Now(), time.Now(), map[string]*sending{}, 0
}

func (p *progress) Sent(sent swarm.Sent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes[sent.Node] = &sending{Sent: sent, took: time.Since(p.begun)}
	every := plainEvery
	if p.terminal {
		every = redrawEvery
	}
	if !p.quiet && time.Since(p.told) > every {
		p.tell()
	}
}

// End tells the last state of all.
func (p *progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.quiet {
		p.tell()
	}
}

func (p *progress) tell() {
	p.told = time.Now()
	var text strings.Builder
	if p.terminal && p.drawn > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", p.drawn)
	}
	p.drawn = 0
	for _, node := range slices.Sorted(maps.Keys(p.nodes)) {
		sent := p.nodes[node]
		if sent.told && !p.terminal {
			continue
		}
		sent.told = sent.all()
		took := sent.took
		if !sent.all() {
			took = time.Since(p.begun)
		}
		line := node + ": " + travel(sent.Sent, took)
		if sent.By != "" {
			line += ", by way of " + sent.By
		}
		if p.terminal {
			line += "\x1b[K"
		}
		text.WriteString(line + "\n")
		p.drawn++
	}
	if text.Len() > 0 {
		_, _ = io.WriteString(p.out, text.String())
	}
}

// travel is how far it is: bytes of bytes, the rate, and the time left.
func travel(s swarm.Sent, took time.Duration) string {
	rate := float64(s.Bytes) / max(took.Seconds(), 0.001)
	text := fmt.Sprintf("%s of %s, %s/s", units.HumanSize(float64(s.Bytes)), units.HumanSize(float64(s.Size)), units.HumanSize(rate))
	if s.Bytes >= s.Size {
		return text + ", " + took.Round(100*time.Millisecond).String()
	}
	if rate == 0 {
		return text
	}
	left := time.Duration(float64(s.Size-s.Bytes) / rate * float64(time.Second))
	return text + ", " + left.Round(time.Second).String() + " left"
}
