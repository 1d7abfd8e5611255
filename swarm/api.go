package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// A manager that lives takes a connection well within it.
	apiTimeout = 3 * time.Second
	// So long another manager is looked for when one has died.
	failoverTimeout = time.Minute
)

// DialAPI connects to the Docker API of an engine that manages, going on to
// another where one does not answer.
func DialAPI(ctx context.Context, fleet Fleet) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, failoverTimeout, errors.New("no manager answered within "+failoverTimeout.String()))
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := dialAPI(ctx, fleet)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func dialAPI(ctx context.Context, fleet Fleet) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	manager, err := fleet.Manager(ctx)
	if err != nil {
		return nil, err
	}
	return manager.conn.Dial(ctx, "unix", dockerSocket)
}
