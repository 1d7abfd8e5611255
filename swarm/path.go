package swarm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	api "github.com/docker/docker/api/types/swarm"
)

// Labels of nodes that say what is between them.
const (
	LabelMTU     = "skep.mtu"     // the largest packet that reaches all others, where it is less than Ethernet's
	LabelEncrypt = "skep.encrypt" // "true" where overlay networks are to be encrypted
)

const (
	ethernet = 1500
	// Docker takes what VXLAN and encryption add from it by itself.
	optionMTU     = "com.docker.network.driver.mtu"
	optionEncrypt = "encrypted"
)

// Path is what overlay networks have to heed of the way between nodes.
type Path struct {
	MTU     int // of the narrowest way
	Encrypt bool
}

// PathOf reads the nodes' labels.
func PathOf(members []api.Node) Path {
	p := Path{MTU: ethernet}
	for _, n := range members {
		if mtu, err := strconv.Atoi(n.Spec.Labels[LabelMTU]); err == nil && mtu > 0 {
			p.MTU = min(p.MTU, mtu)
		}
		p.Encrypt = p.Encrypt || n.Spec.Labels[LabelEncrypt] == "true"
	}
	return p
}

// Options are those of a network on the path. What is asked for by name wins.
func (p Path) Options(asked map[string]string) map[string]string {
	options := map[string]string{}
	if p.MTU < ethernet {
		options[optionMTU] = strconv.Itoa(p.MTU)
	}
	if p.Encrypt {
		options[optionEncrypt] = "true"
	}
	maps.Copy(options, asked)
	if len(options) == 0 {
		return nil
	}
	return options
}

// Overlay makes an attachable overlay network for the path unless it is there.
// One that is there and lets packets be larger than the path is warned of.
func (e *Engine) Overlay(ctx context.Context, name string, o network.CreateOptions, p Path) (warning string, err error) {
	found, err := e.NetworkInspect(ctx, name, network.InspectOptions{})
	if err == nil {
		warning = p.warning(found)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return "", fmt.Errorf("look for network %s: %s", name, brief(err))
	}
	o.Options = p.Options(o.Options)
	return warning, e.ensureOverlay(ctx, name, o)
}

// TooWide warns of the networks that let packets be larger than the path.
func (e *Engine) TooWide(ctx context.Context, p Path) ([]string, error) {
	all, err := e.NetworkList(ctx, network.ListOptions{Filters: filter("driver", "overlay")})
	if err != nil {
		return nil, fmt.Errorf("list the networks: %s", brief(err))
	}
	var warnings []string
	for _, n := range all {
		if w := p.warning(n); w != "" {
			warnings = append(warnings, w)
		}
	}
	return warnings, nil
}

func (p Path) warning(n network.Inspect) string {
	if !p.narrower(n) {
		return ""
	}
	return fmt.Sprintf("network %s was made for packets of %d bytes, and only %d get from node to node, so that bulk data hangs: remove the services on it, and deploying them makes it anew",
		n.Name, mtuOf(n), p.MTU)
}

// narrower says whether the path is, than the network was made for.
func (p Path) narrower(n network.Inspect) bool { return n.Driver == "overlay" && mtuOf(n) > p.MTU }

func mtuOf(n network.Inspect) int {
	if mtu, err := strconv.Atoi(n.Options[optionMTU]); err == nil && mtu > 0 {
		return mtu
	}
	return ethernet
}

const ingressTimeout = time.Minute

// FitIngress makes the ingress network anew for a path that is narrower than
// it. While a service publishes by it Docker refuses, and it stays.
func (e *Engine) FitIngress(ctx context.Context, p Path) error {
	all, err := e.NetworkList(ctx, network.ListOptions{Filters: filter("driver", "overlay")})
	if err != nil {
		return fmt.Errorf("list the networks: %s", brief(err))
	}
	for _, n := range all {
		if !n.Ingress || !p.narrower(n) {
			continue
		}
		used, err := e.usesIngress(ctx)
		if err != nil || used {
			return err
		}
		// Once begun it is seen to its end: a swarm without it publishes nothing.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ingressTimeout)
		defer cancel()
		if err := e.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("make network %s anew: %s", n.Name, brief(err))
		}
		o := network.CreateOptions{Driver: "overlay", Ingress: true, Options: p.Options(nil), IPAM: &n.IPAM}
		// The old one takes a moment to go.
		err = poll(ctx, func() (string, error) {
			_, err := e.NetworkCreate(ctx, n.Name, o)
			return "", err
		})
		if err != nil {
			return fmt.Errorf("make network %s anew: %w", n.Name, err)
		}
	}
	return nil
}

func (e *Engine) usesIngress(ctx context.Context) (bool, error) {
	ports, _, err := e.Opened(ctx)
	return slices.ContainsFunc(ports, func(p api.PortConfig) bool { return p.PublishMode == api.PortConfigPublishModeIngress }), err
}

// HasESP says whether the node's kernel can encrypt what Docker has it encrypt:
// it is given a key of Docker's kind for a moment. why tells what it said.
func (e *Engine) HasESP(ctx context.Context) (has bool, why string, err error) {
	const of = "src 127.0.0.1 dst 127.0.0.2 proto esp spi 0x736b6570"
	out, err := e.conn.Run(ctx, "PATH=$PATH:/usr/sbin:/sbin; s=; [ \"$(id -u)\" = 0 ] || s='sudo -n'; $s ip xfrm state delete "+of+" 2>/dev/null; "+
		"$s ip xfrm state add "+of+" mode transport aead 'rfc4106(gcm(aes))' 0x"+strings.Repeat("00", 20)+" 64 2>&1 && $s ip xfrm state delete "+of+" && echo yes; true", nil)
	words := strings.TrimSpace(out)
	return words == "yes", words, err
}
