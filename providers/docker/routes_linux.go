package docker

import (
	"bufio"
	"encoding/hex"
	"math/bits"
	"net/netip"
	"os"
	"strings"
)

// routes reads the kernel's IPv4 routes: a subnet may be routed without this
// host being on it (a VPN).
func routes() []netip.Prefix {
	file, err := os.Open("/proc/net/route")
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	var found []netip.Prefix
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask …, in little-endian hex.
		f := strings.Fields(lines.Text())
		if len(f) < 8 {
			continue
		}
		to, err1 := hex.DecodeString(f[1])
		mask, err2 := hex.DecodeString(f[7])
		if err1 != nil || err2 != nil || len(to) != 4 || len(mask) != 4 {
			continue
		}
		ones := 0
		for _, b := range mask {
			ones += bits.OnesCount8(b)
		}
		found = append(found, netip.PrefixFrom(netip.AddrFrom4([4]byte{to[3], to[2], to[1], to[0]}), ones))
	}
	return found
}
