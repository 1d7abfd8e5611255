// Command cloud serves a test cloud by hand, with droplets that are real hosts:
//
//	CLOUD_TOKEN=secret go run ./testdata/cloud -id mine -listen 127.0.0.1:8600
//	export DIGITALOCEAN_API_URL=http://127.0.0.1:8600 DIGITALOCEAN_ACCESS_TOKEN=secret
//	skep nodes create -d digitalocean --yes --region ams3,sgp1,nyc3 tst
//	curl 127.0.0.1:8600/_control/state
//	curl 127.0.0.1:8600/_control/faults -d '{"lag": 3, "too_many": 1}'
//
// It removes what it made when it is told to end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"skep/testdata/cloud/api"
	"skep/testdata/cloud/droplets"
	"skep/testdata/cloud/hosts"
)

func main() {
	id := flag.String("id", "hand", "what its containers are named after")
	image := flag.String("image", "skep-node:0.1.0", "node image that droplets are made of")
	listen := flag.String("listen", "127.0.0.1:0", "where to serve the API")
	records := flag.Bool("records", false, "make records alone, no hosts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *id, *image, *listen, *records); err != nil {
		fmt.Fprintln(os.Stderr, "cloud:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, id, image, listen string, records bool) error {
	token := os.Getenv("CLOUD_TOKEN")
	if token == "" {
		return errors.New("CLOUD_TOKEN is to be the token that it takes")
	}
	var making api.Hosts
	maker, err := hosts.Open(id, image)
	if err != nil {
		return err
	}
	if !records {
		making = droplets.Hosts{Maker: maker}
	}
	cloud := api.New(token, making, api.Faults{Boot: 1, Lag: 1})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: cloud, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf("http://%s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	cloud.Close()
	if records {
		return nil
	}
	return maker.Close(context.WithoutCancel(ctx))
}
