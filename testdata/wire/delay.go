package main

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// piece is what was read, and when it may go on.
type piece struct {
	bytes []byte
	due   time.Time
}

// pieces is how many may be under way: more than any window.
const pieces = 4096

// delay takes connections and passes them on to an address, each byte late: a distance, as far as round trips go. It
// loses and reorders nothing.
func delay(ctx context.Context, ln net.Listener, to string, late time.Duration) error {
	for {
		near, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			far, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
			if err != nil {
				near.Close()
				return
			}
			go crawl(far, near, late)
			crawl(near, far, late)
		}()
	}
}

// crawl copies until the source ends, and then ends its reader's half.
func crawl(to, from net.Conn, late time.Duration) {
	underway := make(chan piece, pieces)
	go func() {
		defer close(underway)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				underway <- piece{buffer[:n], time.Now().Add(late)}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					to.Close()
				}
				return
			}
		}
	}()
	for p := range underway {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			from.Close() // ends the reading
			break
		}
	}
	for range underway { // what nobody takes any more
		continue
	}
	_ = to.(*net.TCPConn).CloseWrite()
}
