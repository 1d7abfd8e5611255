//go:build unix

package tunnel

import (
	"os"
	"os/signal"
	"syscall"
)

// watchSize calls back when the terminal's window changes, until stop.
func watchSize(changed func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	go func() {
		for range signals {
			changed()
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
	}
}
