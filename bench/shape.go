//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
)

// node is what a container of skep's docker driver is, read from one: the floor
// starts the same, whatever this machine allows and skep asks for.
type node struct {
	Config     struct{ Image string }
	HostConfig struct {
		Privileged        bool
		CapAdd, CapDrop   []string
		SecurityOpt       []string
		MaskedPaths       *[]string
		DeviceCgroupRules []string
		CgroupnsMode      string
		Binds             []string
		Tmpfs             map[string]string
		RestartPolicy     struct{ Name string }
		PortBindings      map[string][]struct{ HostIp string } //nolint:revive // the engine's own spelling
		Mounts            []struct{ Target string }
	}
	subnet netip.Prefix
}

// shape makes an environment of one node to read it from. That warms up what
// the first measured create would pay for, too: the node image and the key.
func (b *bench) shape(ctx context.Context) (*node, error) {
	if b.node != nil {
		return b.node, nil
	}
	b.say("making one node, to see what skep makes")
	env := b.name(suffixShape)
	if _, err := b.skep(ctx, "nodes", "create", "-m", "1", env); err != nil {
		return nil, err
	}
	n, err := inspect(ctx, env)
	if err != nil {
		return nil, err
	}
	if _, err := b.skep(ctx, "nodes", "rm", "-f", env); err != nil {
		return nil, err
	}
	b.node = n
	return n, nil
}

func inspect(ctx context.Context, env string) (*node, error) {
	out, err := docker(ctx, "container", "inspect", "-f", "{{json .}}", env+"-manager-1")
	if err != nil {
		return nil, err
	}
	var n node
	if err := json.Unmarshal([]byte(out), &n); err != nil {
		return nil, fmt.Errorf("read what a node is: %w", err)
	}
	out, err = docker(ctx, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "skep-"+env)
	if err != nil {
		return nil, err
	}
	if n.subnet, err = netip.ParsePrefix(out); err != nil {
		return nil, fmt.Errorf("read the subnet of the nodes: %w", err)
	}
	return &n, nil
}

// flags are those of docker run that make a container alike.
func (n *node) flags() []string {
	var flags []string
	each := func(name string, values ...string) {
		for _, v := range values {
			flags = append(flags, name+"="+v)
		}
	}
	h := n.HostConfig
	if h.Privileged {
		flags = append(flags, "--privileged")
	} else {
		each("--security-opt", h.SecurityOpt...)
		if h.MaskedPaths != nil && len(*h.MaskedPaths) == 0 {
			each("--security-opt", "systempaths=unconfined")
		}
	}
	each("--cap-add", h.CapAdd...)
	each("--cap-drop", h.CapDrop...)
	each("--device-cgroup-rule", h.DeviceCgroupRules...)
	each("--volume", h.Binds...)
	each("--restart", h.RestartPolicy.Name)
	if h.CgroupnsMode != "" {
		each("--cgroupns", h.CgroupnsMode)
	}
	for path, options := range h.Tmpfs {
		each("--tmpfs", path+":"+options)
	}
	for port, bindings := range h.PortBindings {
		for _, b := range bindings {
			each("--publish", b.HostIp+"::"+port)
		}
	}
	return flags
}
