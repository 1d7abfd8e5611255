package probe

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	// Ethernet is the size of packets that every overlay network is made for,
	// unless it is told otherwise.
	Ethernet = 1500

	tries     = 3
	tryEvery  = 250 * time.Millisecond
	lastReply = time.Second // the longest way there and back
	refined   = 32          // sizes tried between one that passes and one that does not
)

// usual are the sizes of packets at which ways tend to end, less than Ethernet:
// PPPoE, tunnels, clouds, WireGuard, IPv6's least, and the least of all.
func usual() []int {
	return []int{Ethernet, 1492, 1480, 1476, 1462, 1450, 1440, 1430, 1420, 1400, 1380, 1350, 1320, 1280, 1200, 1000, 576}
}

// PathMTUs measures how large packets that may not be cut reach each address and
// come back, up to Ethernet's size; 0 is an address that answers none at all. It
// takes the right to use raw sockets.
func PathMTUs(ctx context.Context, addresses []netip.Addr) (map[string]int, error) {
	found := map[string]int{}
	for _, family := range []echo{v4(), v6()} {
		var some []netip.Addr
		for _, a := range addresses {
			if a.Is4() == family.is4 {
				some = append(some, a)
			}
		}
		if len(some) == 0 {
			continue
		}
		if err := family.measure(ctx, some, found); err != nil {
			return nil, fmt.Errorf("measure how large packets may be: %w", err)
		}
	}
	return found, nil
}

// echo is ICMP of one family.
type echo struct {
	is4            bool
	network        string
	header         int // of IP
	request, reply byte
}

func v4() echo { return echo{true, "ip4:icmp", 20, 8, 0} }
func v6() echo { return echo{false, "ip6:ipv6-icmp", 40, 128, 129} }

// question is one echo: its place in the list is its sequence number.
type question struct {
	to   netip.Addr
	size int
	came bool
}

func (e echo) measure(ctx context.Context, addresses []netip.Addr, found map[string]int) error {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, e.network, "")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	ip, ok := conn.(*net.IPConn)
	if !ok {
		return errors.New("no raw socket")
	}
	if err := whole(ip, e.is4); err != nil {
		return err
	}
	var asked []question
	for _, a := range addresses {
		for _, size := range usual() {
			asked = append(asked, question{to: a, size: size})
		}
	}
	if err := e.ask(ctx, ip, asked); err != nil {
		return err
	}
	// A second round goes between the largest that passed and the next.
	var closer []question
	for _, a := range addresses {
		best := largest(asked, a)
		found[a.String()] = best
		if best == 0 || best == Ethernet {
			continue
		}
		next := usual()[slices.Index(usual(), best)-1]
		step := (next - best + refined - 1) / refined
		for size := best + step; size < next; size += step {
			closer = append(closer, question{to: a, size: size})
		}
	}
	if err := e.ask(ctx, ip, closer); err != nil {
		return err
	}
	for _, a := range addresses {
		found[a.String()] = max(found[a.String()], largest(closer, a))
	}
	return nil
}

// largest is the size of the largest packet that came back from an address.
func largest(asked []question, from netip.Addr) int {
	best := 0
	for _, q := range asked {
		if q.came && q.to == from {
			best = max(best, q.size)
		}
	}
	return best
}

// ask sends every question a few times and notes which are answered, until the
// largest of each address is, or no answer is to be expected any more.
func (e echo) ask(ctx context.Context, conn *net.IPConn, asked []question) error {
	id := uint16(rand.Uint32()) // #nosec G115 G404 -- any will do, to know our own
	buffer := make([]byte, Ethernet)
	for try := range tries {
		for seq, q := range asked {
			if q.came {
				continue
			}
			// One that is larger than the machine's own link is refused at once.
			_, _ = conn.WriteTo(e.packet(id, uint16(seq), q.size), &net.IPAddr{IP: q.to.AsSlice()}) // #nosec G115 -- few
		}
		wait := tryEvery
		if try == tries-1 {
			wait = lastReply
		}
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		for !answered(asked) {
			n, from, err := conn.ReadFrom(buffer)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil {
				return cmp.Or(context.Cause(ctx), err)
			}
			e.note(asked, id, buffer[:n], from)
		}
	}
	return nil
}

// answered says whether the largest packet of each address came back.
func answered(asked []question) bool {
	for _, q := range asked {
		if q.size == Ethernet && !q.came || q.size < Ethernet && !q.came && !covered(asked, q) {
			return false
		}
	}
	return true
}

// covered says whether a larger packet came back from where the question goes.
func covered(asked []question, q question) bool { return largest(asked, q.to) > q.size }

func (e echo) note(asked []question, id uint16, packet []byte, from net.Addr) {
	if len(packet) < 8 || packet[0] != e.reply || binary.BigEndian.Uint16(packet[4:]) != id {
		return
	}
	seq := int(binary.BigEndian.Uint16(packet[6:]))
	address, ok := from.(*net.IPAddr)
	if !ok || seq >= len(asked) {
		return
	}
	if a, ok := netip.AddrFromSlice(address.IP); ok && a.Unmap() == asked[seq].to && len(packet)+e.header == asked[seq].size {
		asked[seq].came = true
	}
}

// packet is an echo request that fills a packet of the size. The kernel computes
// the checksum of IPv6's.
func (e echo) packet(id, seq uint16, size int) []byte {
	p := make([]byte, size-e.header)
	p[0] = e.request
	binary.BigEndian.PutUint16(p[4:], id)
	binary.BigEndian.PutUint16(p[6:], seq)
	if e.is4 {
		binary.BigEndian.PutUint16(p[2:], checksum(p))
	}
	return p
}

// checksum is that of RFC 1071.
func checksum(p []byte) uint16 {
	var sum uint32
	for i := 0; i < len(p); i += 2 {
		word := uint32(p[i]) << 8
		if i+1 < len(p) {
			word |= uint32(p[i+1])
		}
		sum += word
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum) // #nosec G115 -- folded
}
