package services

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"skep/swarm"
)

// Retire takes a node's database servers out of their clusters, before the node
// itself goes: a cluster counts members that were not taken out as lost, and
// with enough of them has no quorum any more.
func (x Executor) Retire(ctx context.Context, node string) error {
	manager, err := x.Env.Manager(ctx)
	if err != nil {
		return err
	}
	existing, err := manager.StackServices(ctx, rqliteName)
	if err != nil || len(existing) == 0 {
		return err
	}
	tasks, err := manager.Running(ctx, rqliteName)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(tasks, func(t swarm.Task) bool { return t.Node == node }) {
		return nil
	}
	var errs []error
	for _, t := range tasks {
		if t.Node == node {
			continue
		}
		err := x.removeMember(ctx, t, rqliteHost+node)
		if err == nil {
			x.Log.Info("taken out of "+rqliteName, "node", node)
			return nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil // it was the only one
	}
	return fmt.Errorf("take %s out of %s: %w", node, rqliteName, errors.Join(errs...))
}

// removeMember asks any server, which passes it on to the leader.
func (x Executor) removeMember(ctx context.Context, t swarm.Task, id string) error {
	body, err := json.Marshal(map[string]string{"id": id})
	if err != nil {
		return err
	}
	response, err := x.request(ctx, t, RqlitePort, http.MethodDelete, "/remove", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
