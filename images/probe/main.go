// Command probe asks a URL once, over plain HTTP, and fails where the answer is
// not one of success: the healthcheck of images that have no shell. It speaks
// HTTP/1.0 by itself, for net/http would make it three times the size.
package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const patience = 3 * time.Second

func main() {
	if len(os.Args) != 2 {
		fail("usage: probe http://HOST:PORT/PATH")
	}
	rest, plain := strings.CutPrefix(os.Args[1], "http://")
	if !plain {
		fail("only http:// is asked: " + os.Args[1])
	}
	host, path, _ := strings.Cut(rest, "/")
	address := host
	if !strings.Contains(host[strings.LastIndex(host, "]")+1:], ":") {
		address += ":80"
	}
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "tcp", address) // #nosec G704 -- the address is what it is for
	if err != nil {
		fail(err.Error())
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "GET /"+path+" HTTP/1.0\r\nHost: "+host+"\r\nUser-Agent: skep-probe\r\n\r\n"); err != nil {
		fail(err.Error())
	}
	status, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		fail(err.Error())
	}
	fields := strings.Fields(status)
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/") || len(fields[1]) != 3 || fields[1][0] != '2' && fields[1][0] != '3' {
		fail(strings.TrimSpace(status))
	}
}

func fail(why string) {
	_, _ = io.WriteString(os.Stderr, why+"\n")
	os.Exit(1)
}
