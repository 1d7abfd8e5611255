package services

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestAnImageRunsOnNodesOfItsArchitecture(t *testing.T) {
	amd, arm := ocispec.Platform{OS: "linux", Architecture: "amd64"}, ocispec.Platform{OS: "linux", Architecture: "arm64"}
	mixed := map[string]api.Platform{"dev-worker-1": {OS: "linux", Architecture: "x86_64"}, "dev-worker-2": {OS: "linux", Architecture: "aarch64"}}
	for name, test := range map[string]struct {
		built []ocispec.Platform
		nodes map[string]api.Platform
		words string
	}{
		"for both":        {[]ocispec.Platform{amd, arm}, mixed, ""},
		"for one of two":  {[]ocispec.Platform{amd}, mixed, "is for amd64, and dev-worker-2 is arm64"},
		"for the other":   {[]ocispec.Platform{arm}, mixed, "is for arm64, and dev-worker-1 is amd64"},
		"nobody tells":    {nil, mixed, ""},
		"no node is told": {[]ocispec.Platform{arm}, map[string]api.Platform{"dev-worker-1": {}}, ""},
	} {
		err := holding{platforms: test.built}.runsOn("hello:0.1", test.nodes)
		if text := fmt.Sprint(err); (err == nil) != (test.words == "") || !strings.Contains(text, test.words) && err != nil || strings.Contains(text, "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlatformsAreThoseOfNodesThatTakeTheTasks(t *testing.T) {
	node := func(name, arch string, availability api.NodeAvailability) api.Node {
		n := api.Node{Spec: api.NodeSpec{Availability: availability}, Status: api.NodeStatus{State: api.NodeStateReady}}
		n.Description.Hostname, n.Description.Platform.Architecture = name, arch
		return n
	}
	members := []api.Node{node("a", "x86_64", api.NodeAvailabilityActive), node("b", "aarch64", api.NodeAvailabilityActive), node("c", "riscv64", api.NodeAvailabilityDrain)}
	if got := platforms(members, api.ServiceSpec{}); len(got) != 2 {
		t.Errorf("%v", got)
	}
	placed := api.ServiceSpec{TaskTemplate: api.TaskSpec{Placement: &api.Placement{Constraints: []string{"node.platform.arch!=aarch64"}}}}
	if got := platforms(members, placed); len(got) != 1 || got["a"].Architecture != "x86_64" {
		t.Errorf("%v", got)
	}
}

func TestWhatTheSwarmPutBackIsNotPutBackAgain(t *testing.T) {
	back := &swarm.TaskError{Service: "hello", RolledBack: true}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{back, true}, {errors.Join(errors.New("x"), back), true}, {&swarm.TaskError{Service: "other", RolledBack: true}, false},
		{&swarm.TaskError{Service: "hello"}, false}, {errors.New("x"), false},
	} {
		if got := putBack(test.err, "hello"); got != test.want {
			t.Errorf("%v: %t", test.err, got)
		}
	}
}
