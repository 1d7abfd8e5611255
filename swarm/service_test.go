package swarm

import (
	"reflect"
	"testing"

	"github.com/docker/docker/api/types/mount"
	api "github.com/docker/docker/api/types/swarm"
)

func service(change ...func(*api.ServiceSpec)) api.ServiceSpec {
	replicas := uint64(2)
	s := api.ServiceSpec{
		Annotations: api.Annotations{Name: "hello", Labels: map[string]string{LabelStack: "app hello", "b": "2", "a": "1"}},
		TaskTemplate: api.TaskSpec{ContainerSpec: &api.ContainerSpec{
			Image: "hello:0.1", Env: []string{"GREETING=Hi"}, Labels: map[string]string{LabelStack: "app hello"},
		}},
		Mode:         api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &replicas}},
		EndpointSpec: &api.EndpointSpec{Mode: api.ResolutionModeVIP},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// digests are those of the service and of its containers.
func digests(s api.ServiceSpec) (whole, task string) {
	s = stamp(s)
	return s.Labels[LabelSpec], s.TaskTemplate.ContainerSpec.Labels[LabelSpec]
}

func TestStampOfTheSameIsTheSame(t *testing.T) {
	whole, task := digests(service())
	if whole == "" || task == "" || whole == task {
		t.Fatalf("digests %q and %q", whole, task)
	}
	for range 20 { // maps have no order
		if w, c := digests(service()); w != whole || c != task {
			t.Fatal("the same spec has another digest")
		}
	}
}

func TestStampTellsWhatChanged(t *testing.T) {
	whole, task := digests(service())
	for name, test := range map[string]struct {
		change   func(*api.ServiceSpec)
		restarts bool // its containers
	}{
		"mode":          {func(s *api.ServiceSpec) { s.Mode = api.ServiceMode{Global: &api.GlobalService{}} }, false},
		"port":          {func(s *api.ServiceSpec) { s.EndpointSpec.Ports = []api.PortConfig{{TargetPort: 80}} }, false},
		"service label": {func(s *api.ServiceSpec) { s.Labels["a"] = "3" }, false},
		"update policy": {func(s *api.ServiceSpec) { s.UpdateConfig = &api.UpdateConfig{Parallelism: 1} }, false},
		"image":         {func(s *api.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "hello:0.2" }, true},
		"variable":      {func(s *api.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"GREETING=Ho"} }, true},
		"volume":        {func(s *api.ServiceSpec) { s.TaskTemplate.ContainerSpec.Mounts = []mount.Mount{{Target: "/data"}} }, true},
		"network":       {func(s *api.ServiceSpec) { s.TaskTemplate.Networks = []api.NetworkAttachmentConfig{{Target: "dbnet"}} }, true},
		"place":         {func(s *api.ServiceSpec) { s.TaskTemplate.Placement = &api.Placement{Constraints: []string{"a==b"}} }, true},
	} {
		w, c := digests(service(test.change))
		if w == whole {
			t.Errorf("%s: the service seems unchanged", name)
		}
		if (c != task) != test.restarts {
			t.Errorf("%s: containers change: %t, not %t", name, c != task, test.restarts)
		}
	}
}

// A service that was scaled is the same but for its scale, which Apply looks at
// by itself.
func TestScaleIsNoPartOfTheDigest(t *testing.T) {
	three := uint64(3)
	scaled := service(func(s *api.ServiceSpec) { s.Mode.Replicated.Replicas = &three })
	whole, task := digests(service())
	if w, c := digests(scaled); w != whole || c != task {
		t.Error("the scale changed a digest")
	}
	global := service(func(s *api.ServiceSpec) { s.Mode = api.ServiceMode{Global: &api.GlobalService{}} })
	if sameScale(service(), scaled) || sameScale(service(), global) || !sameScale(scaled, scaled) || !sameScale(global, global) {
		t.Error("scales are told apart wrongly")
	}
}

// Stacks are values that others use again.
func TestStampLeavesWhatItWasGiven(t *testing.T) {
	given := service()
	stamped := stamp(given)
	if !reflect.DeepEqual(given, service()) {
		t.Errorf("it became %+v", given)
	}
	if stamped.Labels[LabelStack] != "app hello" || stamped.Labels["a"] != "1" || stamped.TaskTemplate.ContainerSpec.Labels[LabelStack] != "app hello" {
		t.Errorf("other labels were lost: %+v", stamped)
	}
}
