package kernel

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	updates   = 5
	perSecond = 20 // an emulated processor takes no more
)

// Updates of an app that is published by ingress lose no request.
func updated(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var asked, failed atomic.Int64
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			address := net.JoinHostPort(addresses()[n%len(addresses())], "8080")
			asking.Go(func() {
				asked.Add(1)
				// One that is under way when the updates are over is let finish.
				if err := answers(context.WithoutCancel(ctx), http.MethodGet, "http://"+address+"/bar", "", `, "/bar"`); err != nil {
					failed.Add(1)
					t.Errorf("request %d to %s: %v", n, address, err)
				}
			})
		}
	})
	for n := range updates {
		skep(t, deploy("-e", fmt.Sprintf("GREETING=v%d", n))...)
	}
	stop()
	asking.Wait()
	t.Logf("%d updates, %d of %d requests failed", updates, failed.Load(), asked.Load())
}
