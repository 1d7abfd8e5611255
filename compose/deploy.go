package compose

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	api "github.com/docker/docker/api/types/swarm"
)

// settle is how long a task is watched, as an app's.
const settle = 2 * time.Second

func mode(s types.ServiceConfig, d types.DeployConfig) (api.ServiceMode, error) {
	switch d.Mode {
	case "global":
		return api.ServiceMode{Global: &api.GlobalService{}}, nil
	case "", "replicated":
	default:
		return api.ServiceMode{}, fmt.Errorf("deploy mode %s is not supported: use replicated or global", d.Mode)
	}
	n := 1
	switch {
	case d.Replicas != nil:
		n = *d.Replicas
	case s.Scale != nil:
		n = *s.Scale
	}
	if n < 0 {
		return api.ServiceMode{}, fmt.Errorf("the number of replicas cannot be negative")
	}
	replicas := uint64(n)
	return api.ServiceMode{Replicated: &api.ReplicatedService{Replicas: &replicas}}, nil
}

func restart(s types.ServiceConfig, p *types.RestartPolicy) *api.RestartPolicy {
	r := &api.RestartPolicy{Condition: api.RestartPolicyConditionAny}
	switch condition, most, limited := strings.Cut(s.Restart, ":"); condition {
	case "no":
		r.Condition = api.RestartPolicyConditionNone
	case "on-failure":
		r.Condition = api.RestartPolicyConditionOnFailure
		if n, err := strconv.ParseUint(most, 10, 32); limited && err == nil {
			r.MaxAttempts = &n
		}
	}
	if p == nil {
		return r
	}
	if p.Condition != "" {
		r.Condition = api.RestartPolicyCondition(p.Condition)
	}
	r.MaxAttempts = p.MaxAttempts
	if p.Delay != nil {
		delay := time.Duration(*p.Delay)
		r.Delay = &delay
	}
	if p.Window != nil {
		window := time.Duration(*p.Window)
		r.Window = &window
	}
	return r
}

func placement(p types.Placement) *api.Placement {
	if len(p.Constraints)+len(p.Preferences) == 0 && p.MaxReplicas == 0 {
		return nil
	}
	c := &api.Placement{Constraints: p.Constraints, MaxReplicas: p.MaxReplicas}
	for _, preference := range p.Preferences {
		c.Preferences = append(c.Preferences, api.PlacementPreference{Spread: &api.SpreadOver{SpreadDescriptor: preference.Spread}})
	}
	return c
}

func resources(s types.ServiceConfig, d types.DeployConfig) (*api.ResourceRequirements, error) {
	limit := api.Limit{MemoryBytes: int64(s.MemLimit), NanoCPUs: nano(s.CPUS), Pids: s.PidsLimit}
	reserve := api.Resources{MemoryBytes: int64(s.MemReservation)}
	if l := d.Resources.Limits; l != nil {
		limit = api.Limit{MemoryBytes: int64(l.MemoryBytes), NanoCPUs: nano(float32(l.NanoCPUs)), Pids: l.Pids}
	}
	if r := d.Resources.Reservations; r != nil {
		if len(r.Devices)+len(r.GenericResources) > 0 {
			return nil, fmt.Errorf("reservations of devices are not supported")
		}
		reserve = api.Resources{MemoryBytes: int64(r.MemoryBytes), NanoCPUs: nano(float32(r.NanoCPUs))}
	}
	all := &api.ResourceRequirements{}
	if limit != (api.Limit{}) {
		all.Limits = &limit
	}
	if reserve.MemoryBytes != 0 || reserve.NanoCPUs != 0 {
		all.Reservations = &reserve
	}
	if all.Limits == nil && all.Reservations == nil {
		return nil, nil
	}
	return all, nil
}

func nano(cpus float32) int64 { return int64(math.Round(float64(cpus)*1e6)) * 1e3 }

// updates are the file's own, else those of an app: the new task first, and
// back to the version before when it fails. A service that has a volume ends
// its old task first, for two of them would write to it.
func updates(s types.ServiceConfig, d types.DeployConfig) (update, rollback *api.UpdateConfig) {
	order := api.UpdateOrderStartFirst
	if len(s.Volumes) > 0 {
		order = api.UpdateOrderStopFirst
	}
	update = &api.UpdateConfig{Parallelism: 1, Delay: settle, Order: order, FailureAction: api.UpdateFailureActionRollback, Monitor: settle}
	rollback = &api.UpdateConfig{Parallelism: 1, Order: order, FailureAction: api.UpdateFailureActionPause, Monitor: settle}
	adopt(update, d.UpdateConfig)
	adopt(rollback, d.RollbackConfig)
	return update, rollback
}

func adopt(c *api.UpdateConfig, from *types.UpdateConfig) {
	if from == nil {
		return
	}
	if from.Parallelism != nil {
		c.Parallelism = *from.Parallelism
	}
	if from.Delay != 0 {
		c.Delay = time.Duration(from.Delay)
	}
	if from.Monitor != 0 {
		c.Monitor = time.Duration(from.Monitor)
	}
	if from.FailureAction != "" {
		c.FailureAction = from.FailureAction
	}
	if from.Order != "" {
		c.Order = from.Order
	}
	c.MaxFailureRatio = from.MaxFailureRatio
}
