package discovery

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// names is a resolver that knows one host.
func names(addresses ...string) func(context.Context, string) ([]netip.Addr, error) {
	return func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "tasks.db" {
			return nil, errors.New("no such host")
		}
		var all []netip.Addr
		for _, a := range addresses {
			all = append(all, netip.MustParseAddr(a))
		}
		return all, nil
	}
}

func record(t *testing.T, text string) SRV {
	t.Helper()
	r, err := ParseSRV(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Go's own resolver, as rqlite has it, finds servers and ports.
func TestDNSServesRecords(t *testing.T) {
	ready := make(chan net.Addr, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var many []string
	for i := range 60 { // more than a packet takes
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 1)}).String())
	}
	d := DNS{
		Addr: "127.0.0.1:0", Health: "127.0.0.1:0", Lookup: names(many...), Log: slog.New(slog.DiscardHandler),
		Records:   []SRV{record(t, "_db-svc._tcp.db=tasks.db:4002"), record(t, "_x._tcp.gone=tasks.gone:1")},
		Listening: func(a net.Addr) { ready <- a },
	}
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	address := (<-ready).String()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, address)
	}}
	_, found, err := resolver.LookupSRV(ctx, "db-svc", "tcp", "db")
	if err != nil || len(found) != len(many) {
		t.Fatalf("%d records, %v", len(found), err)
	}
	var got []string
	for _, s := range found {
		ips, err := resolver.LookupNetIP(ctx, "ip4", s.Target)
		if err != nil || len(ips) != 1 || s.Port != 4002 {
			t.Fatalf("%+v: %v, %v", s, ips, err)
		}
		got = append(got, ips[0].Unmap().String())
	}
	slices.Sort(got)
	slices.Sort(many)
	if !slices.Equal(got, many) {
		t.Errorf("%v, not %v", got, many)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDNSAnswers(t *testing.T) {
	d := DNS{Lookup: names("10.0.1.5", "fd00::5"), Log: slog.New(slog.DiscardHandler), Records: []SRV{record(t, "_db-svc._TCP.DB=tasks.db:4002"), record(t, "_x._tcp.gone=tasks.gone:1")}}
	for _, test := range []struct {
		name  string
		kind  uint16
		rcode int
		want  []string
	}{
		{"_db-svc._tcp.db.", dns.TypeSRV, dns.RcodeSuccess, []string{"0 0 4002 ip-10-0-1-5.db.", "0 0 4002 ip-fd00-0000-0000-0000-0000-0000-0000-0005.db."}},
		{"_DB-svc._tcp.db.", dns.TypeSRV, dns.RcodeSuccess, []string{"0 0 4002 ip-10-0-1-5.db.", "0 0 4002 ip-fd00-0000-0000-0000-0000-0000-0000-0005.db."}},
		{"_db-svc._tcp.db.", dns.TypeA, dns.RcodeSuccess, nil},
		{"ip-10-0-1-5.db.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.1.5"}},
		{"ip-10-0-1-5.db.", dns.TypeAAAA, dns.RcodeSuccess, nil},
		{"ip-fd00-0000-0000-0000-0000-0000-0000-0005.db.", dns.TypeAAAA, dns.RcodeSuccess, []string{"fd00::5"}},
		// The next server is to be asked, and not told that there is nothing.
		{"ip-999.db.", dns.TypeA, dns.RcodeServerFailure, nil},
		{"tasks.db.", dns.TypeA, dns.RcodeServerFailure, nil},
		{"example.com.", dns.TypeA, dns.RcodeServerFailure, nil},
		{"_x._tcp.gone.", dns.TypeSRV, dns.RcodeServerFailure, nil},
	} {
		answer := d.answer(t.Context(), new(dns.Msg).SetQuestion(test.name, test.kind))
		var got []string
		for _, r := range answer.Answer {
			got = append(got, strings.TrimPrefix(r.String(), r.Header().String()))
		}
		if answer.Rcode != test.rcode || !slices.Equal(got, test.want) {
			t.Errorf("%s %s: %s %q, not %q", test.name, dns.TypeToString[test.kind], dns.RcodeToString[answer.Rcode], got, test.want)
		}
	}
}

func TestRecordsThatCannotBe(t *testing.T) {
	for _, text := range []string{"", "x", "_a._tcp.b", "_a._tcp.b=", "_a._tcp.b=host", "_a._tcp.b=host:0", "_a._tcp.b=host:65536", "_a._tcp.b=:1", "a._tcp.b=h:1", "_a.b=h:1"} {
		if r, err := ParseSRV(text); err == nil {
			t.Errorf("%q is %+v", text, r)
		}
	}
	if err := (DNS{}).Run(t.Context()); err == nil {
		t.Error("nothing is served")
	}
}

func FuzzDNS(f *testing.F) {
	d := DNS{Lookup: names("10.0.1.5"), Log: slog.New(slog.DiscardHandler)}
	r, err := ParseSRV("_db-svc._tcp.db=tasks.db:4002")
	if err != nil {
		f.Fatal(err)
	}
	d.Records = []SRV{r}
	for _, name := range []string{"_db-svc._tcp.db.", "ip-10-0-1-5.db.", "."} {
		text, err := new(dns.Msg).SetQuestion(name, dns.TypeSRV).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		question := new(dns.Msg)
		if question.Unpack(packet) != nil {
			return
		}
		answer := d.answer(t.Context(), question)
		if answer.Rcode == dns.RcodeSuccess && len(question.Question) != 1 {
			t.Errorf("answered %v", question)
		}
	})
}
