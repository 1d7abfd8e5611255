package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// An SSH connection that carries so many others is busy: another one is
	// opened beside it, up to poolSize. One sshd process serves each.
	busyLoad = 4
	poolSize = 4
	// So long a connection that nothing uses is kept beside the last one.
	idleLine = time.Minute

	// A try to connect ends after it, so that the next one's first packet is
	// not a retransmission that waits for its turn.
	connectTimeout = 5 * time.Second
	// The pause between tries, doubled from the one to the other.
	firstRetry   = 200 * time.Millisecond
	longestRetry = 2 * time.Second

	// A machine that has not answered a dial for so long may be gone: others
	// are to be preferred.
	patience = 400 * time.Millisecond
)

// Pool is a few SSH connections to one machine, made when they are needed,
// spread over by load, and made anew when they break. Close it after use.
type Pool struct {
	name    string
	connect func(context.Context) (*Conn, error)
	log     *slog.Logger

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	waiting atomic.Int64 // dials that have waited longer than patience

	mu      sync.Mutex
	lines   []*line
	opening bool
	changed chan struct{} // closed when a line came or a try failed
	err     error         // of the last try
	lost    time.Time     // since when there has been no line, while there should be
	rtt     time.Duration // the least that a dial took
}

// line is one connection of a pool.
type line struct {
	*Conn
	load int       // connections over it
	used time.Time // when load fell to 0
}

// NewPool is a pool of connections that connect makes. The first one is made at
// once.
func NewPool(ctx context.Context, name string, connect func(context.Context) (*Conn, error), log *slog.Logger) *Pool {
	p := &Pool{name: name, connect: connect, log: log, changed: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.openLocked()
	return p
}

// Close ends the connections and all that runs over them.
func (p *Pool) Close() {
	p.mu.Lock()
	p.cancel() // under the lock: nothing is started after it
	p.mu.Unlock()
	p.running.Wait()
}

// Doubtful says that the machine does not answer at the moment.
func (p *Pool) Doubtful() bool {
	if p.waiting.Load() > 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines) == 0
}

// RTT is how far away the machine is: the least that a dial took, 0 before the
// first one.
func (p *Pool) RTT() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rtt
}

// Dial is Conn.Dial over the connection with the least load. Where there is
// none it waits for one until ctx is done.
func (p *Pool) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	late := time.AfterFunc(patience, func() { p.waiting.Add(1) })
	defer func() {
		if !late.Stop() {
			p.waiting.Add(-1)
		}
	}()
	for {
		l, err := p.line(ctx)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		conn, err := l.Dial(ctx, network, addr)
		if err == nil {
			p.took(time.Since(begin))
			return &pooled{Conn: conn, pool: p, line: l}, nil
		}
		p.release(l)
		if !l.broke(err) { // the dial's end, not the connection's
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

// broke says whether a dial failed because the connection ended, which is told a
// moment later than the dial's end. What the machine itself refused did not.
func (l *line) broke(err error) bool {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	moment := time.NewTimer(time.Second)
	defer moment.Stop()
	select {
	case <-l.Done():
		return true
	case <-moment.C:
		return false
	}
}

func (p *Pool) took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rtt == 0 || d < p.rtt {
		p.rtt = d
	}
}

// line is the one with the least load, which counts for one more from now on.
func (p *Pool) line(ctx context.Context) (*line, error) {
	for {
		p.mu.Lock()
		if l := p.leastLocked(); l != nil {
			if l.load >= busyLoad && len(p.lines) < poolSize {
				p.openLocked()
			}
			l.load++
			p.mu.Unlock()
			return l, nil
		}
		p.openLocked()
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			return nil, errors.Join(fmt.Errorf("no connection to %s: %w", p.name, context.Cause(ctx)), p.err)
		case <-p.ctx.Done():
			return nil, fmt.Errorf("the connections to %s were closed", p.name)
		}
	}
}

// leastLocked is the living line with the least load.
func (p *Pool) leastLocked() *line {
	var least *line
	for _, l := range p.lines {
		select {
		case <-l.Done(): // about to be taken off
			continue
		default:
		}
		if least == nil || l.load < least.load {
			least = l
		}
	}
	return least
}

func (p *Pool) release(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.load--; l.load == 0 {
		l.used = time.Now()
	}
}

// openLocked opens one more line in the background, unless that is under way.
func (p *Pool) openLocked() {
	if p.opening || p.ctx.Err() != nil {
		return
	}
	p.opening = true
	p.running.Go(p.open)
}

// open tries until there is a line or the pool ends. One that was to be beside
// others is given up at the first failure.
func (p *Pool) open() {
	pause := firstRetry
	for {
		ctx, cancel := context.WithTimeout(p.ctx, connectTimeout)
		conn, err := p.connect(ctx)
		cancel()
		if p.opened(conn, err) {
			return
		}
		wait(p.ctx, pause)
		pause = min(2*pause, longestRetry)
	}
}

// opened takes the outcome of a try, and says whether it was the last one.
func (p *Pool) opened(conn *Conn, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.err == nil && len(p.lines) == 0 && p.ctx.Err() == nil {
		p.log.Warn("no connection, trying again", "node", p.name, "error", err)
	}
	p.err = err
	close(p.changed)
	p.changed = make(chan struct{})
	if err != nil {
		done := len(p.lines) > 0 || p.ctx.Err() != nil
		if done {
			p.opening, p.err = false, nil
		}
		return done
	}
	p.opening = false
	if !p.lost.IsZero() {
		p.log.Info("connected again", "node", p.name, "after", time.Since(p.lost).Round(time.Millisecond).String())
		p.lost = time.Time{}
	}
	l := &line{Conn: conn, used: time.Now()}
	p.lines = append(p.lines, l)
	p.running.Go(func() { p.tend(l) })
	return true
}

// tend waits for the end of a line: its own, the pool's, or that of its use.
func (p *Pool) tend(l *line) {
	tick := time.NewTicker(idleLine / 2)
	defer tick.Stop()
	for {
		select {
		case <-l.Done():
			p.ended(l)
			return
		case <-p.ctx.Done():
			_ = l.Close()
			return
		case <-tick.C:
			if p.spared(l) {
				_ = l.Close()
				return
			}
		}
	}
}

// ended takes a broken line off and sees that there is another one.
func (p *Pool) ended(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(l)
	if len(p.lines) == 0 && p.ctx.Err() == nil {
		p.lost, p.rtt = time.Now(), 0
		p.log.Warn("the connection broke, connecting again", "node", p.name)
		p.openLocked()
	}
}

// spared takes a line off that nothing has used for long, unless it is the last.
func (p *Pool) spared(l *line) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) < 2 || l.load > 0 || time.Since(l.used) < idleLine {
		return false
	}
	p.removeLocked(l)
	return true
}

func (p *Pool) removeLocked(l *line) {
	for i := range p.lines {
		if p.lines[i] == l {
			p.lines = append(p.lines[:i:i], p.lines[i+1:]...)
			return
		}
	}
}

// pooled is a connection that its line carries until it is closed.
type pooled struct {
	net.Conn
	pool   *Pool
	line   *line
	closed atomic.Bool
}

func (c *pooled) CloseWrite() error {
	closeWrite(c.Conn)
	return nil
}

func (c *pooled) Close() error {
	if !c.closed.Swap(true) {
		c.pool.release(c.line)
	}
	return c.Conn.Close()
}
