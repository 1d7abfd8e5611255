package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"skep/usage"

	"github.com/miekg/dns"
)

// DNS serves SRV records for names that have A records elsewhere: those of a
// swarm service's tasks, which an engine's own DNS gives without ports. Whatever
// else it is asked it fails at, so that a resolver goes on to its next server.
type DNS struct {
	Addr    string // for UDP and TCP
	Health  string // for HTTP: /healthz
	Records []SRV
	// Lookup resolves the names behind the records.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Log    *slog.Logger
	// Listening is told the address once questions are taken.
	Listening func(net.Addr)
}

// SRV is a record: the name that is asked for, and the host and port that it
// leads to.
type SRV struct {
	Name string // fully qualified, in lower case
	Host string
	Port uint16
}

const (
	lookTime = 2 * time.Second
	// ttl is short: a task comes back with another address.
	ttl = 1
)

// ParseSRV reads NAME=HOST:PORT, as _rqlite-svc._tcp.rqlite=tasks.rqlite:4002.
func ParseSRV(text string) (SRV, error) {
	name, target, ok := strings.Cut(text, "=")
	host, port, err := net.SplitHostPort(target)
	n, errPort := strconv.ParseUint(port, 10, 16)
	_, valid := dns.IsDomainName(name)
	if !ok || err != nil || errPort != nil || n == 0 || host == "" || !valid || strings.Count(name, ".") < 2 || !strings.HasPrefix(name, "_") {
		return SRV{}, usage.Errorf("%q is no record: use _SERVICE._PROTOCOL.NAME=HOST:PORT", text)
	}
	return SRV{Name: dns.CanonicalName(name), Host: host, Port: uint16(n)}, nil
}

// zone is the name below which the record's targets are.
func (s SRV) zone() string {
	parts := dns.SplitDomainName(s.Name)
	return dns.Fqdn(strings.Join(parts[2:], "."))
}

// Run serves until ctx ends.
func (d DNS) Run(ctx context.Context) error {
	if len(d.Records) == 0 {
		return usage.Errorf("there is no record to serve: give --srv")
	}
	var config net.ListenConfig
	packets, err := config.ListenPacket(ctx, "udp", d.Addr)
	if err != nil {
		return err
	}
	// Port 0 is one for both.
	listener, err := config.Listen(ctx, "tcp", packets.LocalAddr().String())
	if err != nil {
		return errors.Join(err, packets.Close())
	}
	health, err := config.Listen(ctx, "tcp", d.Health)
	if err != nil {
		return errors.Join(err, packets.Close(), listener.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) { d.handle(ctx, w, r) })
	servers := []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: listener, Handler: handler}}
	web := &http.Server{ReadHeaderTimeout: readTimeout, Handler: http.HandlerFunc(healthy)}
	ended := make(chan error, len(servers)+1)
	for _, s := range servers {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go func() { ended <- s.ActivateAndServe() }()
		<-ready
	}
	go func() { ended <- web.Serve(health) }()
	d.Log.InfoContext(ctx, "listening", "address", packets.LocalAddr().String(), "records", len(d.Records))
	if d.Listening != nil {
		d.Listening(packets.LocalAddr())
	}
	running := len(servers) + 1
	select {
	case err = <-ended:
		running--
	case <-ctx.Done():
		err = nil
	}
	for _, s := range servers {
		_ = s.ShutdownContext(context.WithoutCancel(ctx))
	}
	_ = web.Close()
	for range running {
		<-ended
	}
	return err
}

func healthy(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/healthz" {
		w.WriteHeader(http.StatusNotFound)
	}
}

func (d DNS) handle(ctx context.Context, w dns.ResponseWriter, question *dns.Msg) {
	answer := d.answer(ctx, question)
	if w.LocalAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if opt := question.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
		answer.Truncate(size)
	}
	if err := w.WriteMsg(answer); err != nil {
		d.Log.DebugContext(ctx, "the client went before its answer", "error", err)
	}
}

// answer is what is told on a question.
func (d DNS) answer(ctx context.Context, question *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(question)
	if question.Opcode != dns.OpcodeQuery || len(question.Question) != 1 || question.Question[0].Qclass != dns.ClassINET {
		m.Rcode = dns.RcodeNotImplemented
		return m
	}
	q := question.Question[0]
	name := dns.CanonicalName(q.Name)
	for _, r := range d.Records {
		if name == r.Name {
			m.Authoritative = true
			if q.Qtype != dns.TypeSRV && q.Qtype != dns.TypeANY {
				return m
			}
			ctx, cancel := context.WithTimeout(ctx, lookTime)
			defer cancel()
			addresses, err := d.Lookup(ctx, r.Host)
			if err != nil {
				d.Log.WarnContext(ctx, "look up "+r.Host, "error", err)
				m.Rcode = dns.RcodeServerFailure
				return m
			}
			r.answer(m, q.Name, addresses)
			return m
		}
		if address, ok := r.target(name); ok {
			m.Authoritative = true
			if record := addressRecord(q.Name, address); record.Header().Rrtype == q.Qtype {
				m.Answer = append(m.Answer, record)
			}
			return m
		}
	}
	m.Rcode = dns.RcodeServerFailure
	return m
}

// answer adds a record for each address, and the address itself.
func (s SRV) answer(m *dns.Msg, name string, addresses []netip.Addr) {
	for _, a := range addresses {
		a = a.Unmap()
		target := "ip-" + strings.NewReplacer(".", "-", ":", "-").Replace(a.StringExpanded()) + "." + s.zone()
		m.Answer = append(m.Answer, &dns.SRV{
			Hdr:  dns.RR_Header{Name: name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: ttl},
			Port: s.Port, Target: target,
		})
		m.Extra = append(m.Extra, addressRecord(target, a))
	}
}

// target reads the address out of a name that answer made.
func (s SRV) target(name string) (netip.Addr, bool) {
	label, ok := strings.CutSuffix(name, "."+s.zone())
	text, ours := strings.CutPrefix(label, "ip-")
	if !ok || !ours {
		return netip.Addr{}, false
	}
	for _, separator := range []string{".", ":"} {
		if a, err := netip.ParseAddr(strings.ReplaceAll(text, "-", separator)); err == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func addressRecord(name string, a netip.Addr) dns.RR {
	header := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: ttl}
	if a.Is4() {
		header.Rrtype = dns.TypeA
		return &dns.A{Hdr: header, A: a.AsSlice()}
	}
	header.Rrtype = dns.TypeAAAA
	return &dns.AAAA{Hdr: header, AAAA: a.AsSlice()}
}

// Lookup asks the system's resolver.
func Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	return addresses, nil
}
