package cmd

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// So much garbage may be there before it is collected, beyond as much again
	// as is in use.
	headroom = 16 << 20
	// A process that holds more than this gives back what it does not need.
	frugal   = 40 << 20
	giveBack = 10 * time.Second
)

// paced makes this process one that passes bytes on, until done is called. On
// one processor those who read and those who write take turns and hand each
// other whole batches; on more they wake each other for every packet, which
// takes longer and costs half as much again. What bulk data took of memory is
// given back when it is over.
func paced(ctx context.Context) (done func()) {
	runtime.GOMAXPROCS(1)
	// It is never touched, so it takes no memory: the garbage collector takes
	// its size into account, and waits until as much garbage is there.
	room := make([]byte, headroom)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(giveBack)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if held() > frugal {
				debug.FreeOSMemory()
			}
		}
	}()
	return func() {
		cancel()
		<-ended
		runtime.KeepAlive(room)
	}
}

// held is how many bytes the process has of the system, less what it never
// touched.
func held() uint64 {
	all := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(all)
	return all[0].Value.Uint64() - all[1].Value.Uint64() - headroom
}
