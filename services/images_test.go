package services

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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
	if got := platforms(members, nil); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if got := platforms(members, []string{"node.platform.arch!=aarch64"}); len(got) != 1 || got["a"].Architecture != "x86_64" {
		t.Errorf("%v", got)
	}
}

func TestOfSeveralImagesOfANameTheLastIsMeant(t *testing.T) {
	at := func(minutes int) time.Time { return time.Unix(int64(minutes)*60, 0) }
	here := func(id string, named time.Time) holding { return holding{local: true, id: id, named: named} }
	there := func(id string, named time.Time) holding { return holding{id: id, named: named} }
	for name, test := range map[string]struct {
		held    []holding
		want    string
		instead bool
	}{
		"the only one":                     {[]holding{there("a", at(1))}, "a", false},
		"sent from here":                   {[]holding{here("a", at(1)), there("a", at(2))}, "a", false},
		"built here after an older":        {[]holding{here("b", at(3)), there("a", at(2))}, "b", false},
		"built for the nodes since":        {[]holding{here("a", at(1)), there("b", at(2)), there("b", at(2))}, "b", true},
		"pulled here, nobody knows when":   {[]holding{here("a", time.Time{}), there("b", at(2))}, "a", false},
		"a node was down in the meantime":  {[]holding{there("a", at(1)), there("b", at(2))}, "b", false},
		"a node has it from who knows who": {[]holding{there("a", time.Time{}), there("b", at(2))}, "b", false},
	} {
		if got := meant(test.held); got.id != test.want || got.instead != test.instead {
			t.Errorf("%s: %+v", name, got)
		}
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
