package kernel

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	perSecond = 10 // an emulated processor takes no more
	tries     = 9  // of a client that goes round the nodes
)

// One takes more than a minute here.
var updates = flag.Int("updates", 1, "how many rolling updates to make of an app")

// Updates of an app that is published by ingress lose no request of a client
// that goes on to the next node where one takes no connection. The app has no
// healthcheck, which would take the emulated processor whole: without one a task
// is sent to as soon as it runs, and may not listen yet.
func updated(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var asked, refused, failed atomic.Int64
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
			asking.Go(func() {
				asked.Add(1)
				get := func(n int) error {
					address := net.JoinHostPort(addresses()[n%len(addresses())], "8080")
					// One that is under way when the updates are over is let finish.
					return answers(context.WithoutCancel(ctx), http.MethodGet, "http://"+address+"/bar", "", `, "/bar"`)
				}
				err := get(n)
				for i := 1; i < tries && errors.Is(err, syscall.ECONNREFUSED); i++ {
					refused.Add(1)
					err = get(n + i)
				}
				if err != nil {
					failed.Add(1)
					t.Errorf("request %d: %v", n, err)
				}
			})
		}
	})
	for n := range *updates {
		skep(t, deploy("-e", fmt.Sprintf("GREETING=v%d", n))...)
	}
	stop()
	asking.Wait()
	t.Logf("%d updates, %d of %d requests failed, %d were refused by a node", *updates, failed.Load(), asked.Load(), refused.Load())
}
