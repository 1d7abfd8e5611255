package swarm

import (
	"maps"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
)

func labelled(labels ...string) []api.Node {
	var all []api.Node
	for _, l := range labels {
		n := api.Node{}
		n.Spec.Labels = map[string]string{}
		for pair := range strings.FieldsSeq(l) {
			k, v, _ := strings.Cut(pair, "=")
			n.Spec.Labels[k] = v
		}
		all = append(all, n)
	}
	return all
}

func TestNetworksAreMadeForTheNarrowestWay(t *testing.T) {
	for name, c := range map[string]struct {
		labels []string
		asked  map[string]string
		want   map[string]string
	}{
		"nothing is known":    {[]string{"", ""}, nil, nil},
		"one way is narrower": {[]string{"", "skep.mtu=1400", "skep.mtu=1420"}, nil, map[string]string{optionMTU: "1400"}},
		"none is wider":       {[]string{"skep.mtu=9000"}, nil, nil},
		"no number":           {[]string{"skep.mtu=low", "skep.mtu=-1"}, nil, nil},
		"encrypted":           {[]string{"skep.encrypt=true", "skep.mtu=1400"}, nil, map[string]string{optionMTU: "1400", optionEncrypt: "true"}},
		"asked for by name":   {[]string{"skep.mtu=1400"}, map[string]string{optionMTU: "1300", "x": "y"}, map[string]string{optionMTU: "1300", "x": "y"}},
	} {
		if got := PathOf(labelled(c.labels...)).Options(c.asked); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestNetworksThatAreTooWide(t *testing.T) {
	p := Path{MTU: 1400}
	for want, n := range map[bool]network.Inspect{
		true:  {Name: "dbnet", Driver: "overlay"},
		false: {Name: "dbnet", Driver: "overlay", Options: map[string]string{optionMTU: "1400"}},
	} {
		if got := p.warning(n) != ""; got != want {
			t.Errorf("%v: %v", n.Options, got)
		}
	}
	if w := p.warning(network.Inspect{Name: "bridge", Driver: "bridge"}); w != "" {
		t.Errorf("a bridge: %s", w)
	}
}
