package docker

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// devNetwork is dev's own network, with the subnet if there is one.
func devNetwork(subnet string) network.Inspect {
	n := network.Inspect{Name: networkName("dev"), Labels: map[string]string{labelEnv: "dev"}}
	if subnet != "" {
		n.IPAM.Config = []network.IPAMConfig{{Subnet: subnet}}
	}
	return n
}

func privileged(n network.Inspect, may string) network.Inspect {
	n.Labels[labelPrivileged] = may
	return n
}

func TestFreeAddresses(t *testing.T) {
	dev := devNetwork("10.201.7.0/24")
	stranger := node("tst-worker-1", "10.201.7.2") // on a network of its own
	dhcp := node("dev-worker-9", "", func(c *container.Summary) { c.NetworkSettings.Networks["skep-dev"].IPAMConfig = nil })
	var full []container.Summary
	for n := 2; n < 255; n++ {
		if n != 77 {
			full = append(full, node("dev-worker-"+strconv.Itoa(n), "10.201.7."+strconv.Itoa(n)))
		}
	}
	for name, test := range map[string]struct {
		net   network.Inspect
		nodes []container.Summary
		n     int
		want  []string // nil for an error
	}{
		"the first after the gateway":     {dev, nil, 3, []string{"10.201.7.2", "10.201.7.3", "10.201.7.4"}},
		"none":                            {dev, nil, 0, []string{}},
		"round those in use":              {dev, []container.Summary{node("dev-manager-1", "10.201.7.2"), node("dev-worker-1", "10.201.7.4")}, 2, []string{"10.201.7.3", "10.201.7.5"}},
		"whoever has it elsewhere":        {dev, []container.Summary{stranger, dhcp}, 1, []string{"10.201.7.2"}},
		"the last one":                    {dev, full, 1, []string{"10.201.7.77"}},
		"one more than there are":         {dev, full, 2, nil},
		"not the broadcast address":       {devNetwork("10.201.7.0/29"), nil, 5, []string{"10.201.7.2", "10.201.7.3", "10.201.7.4", "10.201.7.5", "10.201.7.6"}},
		"all of a small one and one more": {devNetwork("10.201.7.0/29"), nil, 6, nil},
		"of a network without a subnet":   {devNetwork(""), nil, 1, nil},
		"of a subnet that is none":        {devNetwork("10.201.7.0"), nil, 1, nil},
	} {
		got, err := freeAddresses(test.net, test.nodes, test.n)
		if (err != nil) != (test.want == nil) || err == nil && !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestOverlapsAny(t *testing.T) {
	all := []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/0"), // the default route leads everywhere and takes nothing
		netip.MustParsePrefix("0.0.0.0/1"), // nor do the halves of it that a VPN redirects
		netip.MustParsePrefix("::/0"),
		netip.MustParsePrefix("192.168.1.0/24"),
		netip.MustParsePrefix("10.201.4.0/22"),
		netip.MustParsePrefix("10.201.9.17/32"),
		netip.MustParsePrefix("fd00::/8"),
	}
	for subnet, want := range map[string]bool{
		"10.201.3.0/24": false, "10.201.4.0/24": true, "10.201.7.0/24": true, "10.201.8.0/24": false,
		"10.201.9.0/24": true, // of which one address is routed elsewhere
		"10.201.0.0/16": true, "192.168.0.0/16": true, "172.17.0.0/16": false,
	} {
		if got := overlapsAny(netip.MustParsePrefix(subnet), all); got != want {
			t.Errorf("%s: %t", subnet, got)
		}
	}
}

func TestSubnetsAreApartAndClearOfTheEnginesOwn(t *testing.T) {
	all := subnets()
	if len(all) != 3*256+56 {
		t.Errorf("%d of them", len(all))
	}
	engines := []netip.Prefix{
		netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), // bridges
		netip.MustParsePrefix("10.0.0.0/9"), // overlays, one /24 after another from 10.0.0.0 on
	}
	for i, p := range all {
		// The last ones are for hosts where all others are taken.
		if p != p.Masked() || p.Bits() != 24 || overlapsAny(p, engines) && i < 512 || overlapsAny(p, all[:i]) {
			t.Errorf("%s", p)
		}
	}
	vpn := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("172.16.0.0/12")}
	if overlapsAny(all[len(all)-1], vpn) {
		t.Error("a host whose VPN routes the most has no subnet left")
	}
}

func TestHostPrefixesHoldWhatThisHostIsOn(t *testing.T) {
	if !overlapsAny(netip.MustParsePrefix("127.0.0.1/32"), hostPrefixes()) {
		t.Errorf("not even itself: %v", hostPrefixes())
	}
}

func noContainers() http.HandlerFunc { return answer([]container.Summary{}) }

// probing lets a privileged container start, or not.
func probing(start http.HandlerFunc) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /containers/json":         noContainers(),
		"POST /containers/create":      answer(container.CreateResponse{ID: "probe"}),
		"POST /containers/probe/start": start,
		"DELETE /containers/probe":     accept(http.StatusNoContent),
	}
}

func TestEnsureNetworkTakesTheNextSubnetWhereOneIsInUse(t *testing.T) {
	var tried []network.CreateRequest
	handlers := probing(accept(http.StatusNoContent))
	handlers["GET /networks/skep-dev"] = inTurn(refuse(http.StatusNotFound, "network skep-dev not found"), answer(devNetwork("10.201.9.0/24")))
	handlers["POST /networks/create"] = func(w http.ResponseWriter, r *http.Request) {
		tried = append(tried, body[network.CreateRequest](t, r))
		if len(tried) < 3 {
			refuse(http.StatusForbidden, "invalid pool request: Pool overlaps with other one on this address space")(w, r)
			return
		}
		answer(network.CreateResponse{ID: "net"})(w, r)
	}
	d, e := startEngine(t, handlers)
	ctx, docker := mustEngine(t, d)
	if _, err := d.ensureNetwork(ctx, docker, "dev", "skep-node:0.1.0"); err != nil {
		t.Fatal(err)
	}
	if len(tried) != 3 {
		t.Fatalf("tried %d subnets", len(tried))
	}
	used := hostPrefixes()
	for _, n := range tried {
		subnet := netip.MustParsePrefix(n.IPAM.Config[0].Subnet)
		if overlapsAny(subnet, used) {
			t.Errorf("tried %s, which is this host's or was tried before", subnet)
		}
		used = append(used, subnet)
		if n.IPAM.Config[0].Gateway != subnet.Addr().Next().String() || n.Driver != "bridge" || n.Name != "skep-dev" {
			t.Errorf("asked for %+v", n)
		}
		if n.Labels[labelEnv] != "dev" || n.Labels[labelPrivileged] != "true" {
			t.Errorf("with labels %v", n.Labels)
		}
	}
	if e.count("DELETE /containers/probe") != 1 {
		t.Error("the container that was tried is still there")
	}
}

func TestEnsureNetworkKeepsWhetherNodesMayBePrivileged(t *testing.T) {
	handlers := probing(refuse(http.StatusInternalServerError, "OCI runtime create failed: unable to apply caps: operation not permitted"))
	handlers["GET /networks/skep-dev"] = inTurn(refuse(http.StatusNotFound, "no such network"), answer(devNetwork("10.201.9.0/24")))
	handlers["POST /networks/create"] = func(w http.ResponseWriter, r *http.Request) {
		if got := body[network.CreateRequest](t, r).Labels[labelPrivileged]; got != "false" {
			t.Errorf("kept %q", got)
		}
		answer(network.CreateResponse{ID: "net"})(w, r)
	}
	d, _ := startEngine(t, handlers)
	ctx, docker := mustEngine(t, d)
	if _, err := d.ensureNetwork(ctx, docker, "dev", "skep-node:0.1.0"); err != nil {
		t.Error(err)
	}
}

func TestEnsureNetworkTakesTheOneThatIsThere(t *testing.T) {
	d, e := startEngine(t, map[string]http.HandlerFunc{
		"GET /networks/skep-dev":          answer(devNetwork("10.201.9.0/24")),
		"GET /containers/json":            answer([]container.Summary{{ID: "id-old-probe"}}), // of a run that was killed
		"DELETE /containers/id-old-probe": gone(),
	})
	ctx, docker := mustEngine(t, d)
	n, err := d.ensureNetwork(ctx, docker, "dev", "skep-node:0.1.0")
	if err != nil || n.IPAM.Config[0].Subnet != "10.201.9.0/24" {
		t.Errorf("%+v, %v", n, err)
	}
	if e.count("DELETE /containers/id-old-probe") != 1 {
		t.Error("what an earlier run tried is still there")
	}
}

func TestEnsureNetworkMakesNoneInVain(t *testing.T) {
	missing := refuse(http.StatusNotFound, "no such network")
	for name, test := range map[string]struct {
		change map[string]http.HandlerFunc
		words  string
	}{
		"of another's":         {map[string]http.HandlerFunc{"GET /networks/skep-dev": answer(network.Inspect{Name: "skep-dev"})}, "not skep's"},
		"of a broken engine":   {map[string]http.HandlerFunc{"GET /networks/skep-dev": refuse(http.StatusInternalServerError, "database is locked")}, "database is locked"},
		"where none is free":   {map[string]http.HandlerFunc{"POST /networks/create": refuse(http.StatusForbidden, "Pool overlaps with other one")}, "no free subnet"},
		"where it is refused":  {map[string]http.HandlerFunc{"POST /networks/create": refuse(http.StatusForbidden, "bridge driver is off")}, "bridge driver is off"},
		"where nothing starts": {map[string]http.HandlerFunc{"POST /containers/probe/start": refuse(http.StatusInternalServerError, "exec format error\nmore")}, "exec format error"},
	} {
		handlers := probing(accept(http.StatusNoContent))
		handlers["GET /networks/skep-dev"] = missing
		for call, handle := range test.change {
			handlers[call] = handle
		}
		d, e := startEngine(t, handlers)
		ctx, docker := mustEngine(t, d)
		_, err := d.ensureNetwork(ctx, docker, "dev", "skep-node:0.1.0")
		oneLine(t, err, test.words)
		if made, removed := e.count("POST /containers/create"), e.count("DELETE /containers/probe"); made != removed {
			t.Errorf("%s: %d tried, %d removed", name, made, removed)
		}
	}
}

// The request of a skep that was killed may be under way still.
func TestMakeNetworkTakesTheOneOfAKilledRun(t *testing.T) {
	d, e := startEngine(t, map[string]http.HandlerFunc{
		"POST /networks/create":  refuse(http.StatusConflict, "network with name skep-dev already exists"),
		"GET /networks/skep-dev": inTurn(refuse(http.StatusNotFound, "no such network"), answer(devNetwork("10.201.7.0/24"))),
	})
	ctx, docker := mustEngine(t, d)
	made, err := makeNetwork(ctx, docker, "dev", false)
	if err != nil || made.Labels[labelEnv] != "dev" {
		t.Errorf("%+v, %v", made, err)
	}
	if n := e.count("GET /networks/skep-dev"); n != 2 {
		t.Errorf("looked %d times", n)
	}
}
