package services

import (
	"time"

	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
)

// anchor keeps every node on a stack's network, by a task that only sleeps.
//
// A node whose last task on an overlay network ends leaves the network, and
// joins it anew for the next task. Where two nodes do so at once, each may wait
// for 30 seconds, several times over, for the other to tell what it knows of the
// network, and no task starts meanwhile (seen with Engine 20.10: "Bulk sync to
// node … timed out"). So servers that all died at once would be apart for
// minutes.
func anchor(stack, image, network string) api.ServiceSpec {
	labels := map[string]string{swarm.LabelStack: stack, swarm.LabelAnchor: "true"}
	restart, grace := 5*time.Second, time.Duration(0)
	return api.ServiceSpec{
		Annotations: api.Annotations{Name: stack + "-anchor", Labels: labels},
		TaskTemplate: api.TaskSpec{
			ContainerSpec: &api.ContainerSpec{Image: image, Labels: labels, Command: []string{"sleep", "infinity"}, StopGracePeriod: &grace},
			Networks:      []api.NetworkAttachmentConfig{{Target: network}},
			RestartPolicy: &api.RestartPolicy{Condition: api.RestartPolicyConditionAny, Delay: &restart},
		},
		UpdateConfig: &api.UpdateConfig{Order: api.UpdateOrderStopFirst, FailureAction: api.UpdateFailureActionPause}, // all at once
		Mode:         api.ServiceMode{Global: &api.GlobalService{}},
		EndpointSpec: &api.EndpointSpec{Mode: api.ResolutionModeDNSRR},
	}
}
