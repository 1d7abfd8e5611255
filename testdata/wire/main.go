// Command wire is what the benchmark of tunnels talks to. A client sends one letter and a count of eight bytes, the
// highest first:
//
//	d n   n bytes come down, then the end
//	u n   n bytes go up, then one byte comes back
//	e n   every byte comes back as soon as it is there, until the client ends
//
// ADDR is where it listens. As `wire delay ADDR TO LATE` it does none of that, but passes connections on to another
// address, each byte so much later.
package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"time"
)

// chunk is large, so that this end is never the slow one.
const chunk = 256 << 10

func main() {
	slog.Error("wire", "error", run(context.Background(), os.Args[1:]))
	os.Exit(1)
}

// run ends only with an error.
func run(ctx context.Context, args []string) error {
	if len(args) == 4 && args[0] == "delay" {
		late, err := time.ParseDuration(args[3])
		if err != nil {
			return err
		}
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", args[1])
		if err != nil {
			return err
		}
		return delay(ctx, ln, args[2], late)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmp.Or(os.Getenv("ADDR"), ":9000"))
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(conn)
	}
}

func serve(conn net.Conn) {
	defer conn.Close()
	var order [9]byte
	if _, err := io.ReadFull(conn, order[:]); err != nil {
		return
	}
	n := int64(binary.BigEndian.Uint64(order[1:]))
	switch order[0] {
	case 'd':
		for buffer := make([]byte, min(chunk, n)); n > 0; {
			sent, err := conn.Write(buffer[:min(n, int64(len(buffer)))])
			if err != nil {
				return
			}
			n -= int64(sent)
		}
	case 'u':
		buffer := make([]byte, chunk)
		if got, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{io.LimitReader(conn, n)}, buffer); err == nil && got == n {
			_, _ = conn.Write([]byte{1})
		}
	case 'e':
		buffer := make([]byte, 4<<10)
		for {
			got, err := conn.Read(buffer)
			if err != nil {
				return
			}
			if _, err := conn.Write(buffer[:got]); err != nil {
				return
			}
		}
	}
}
