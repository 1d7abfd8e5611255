package cmd

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"time"

	"skep/discovery"
	"skep/usage"

	"github.com/spf13/cobra"
)

func (s *skep) discoveryCommand() *cobra.Command {
	own := []*cobra.Command{s.discoveryServe(), s.discoveryAnnounce(), s.discoveryDNS()}
	return group("discovery", "A service by which the nodes of a new cluster find each other", append(own, s.discoveryStack()...)...)
}

// records is a log for machines, a JSON object a line.
func (s *skep) records() *slog.Logger {
	level := slog.LevelInfo
	if s.quiet {
		level = slog.LevelWarn
	}
	return slog.New(slog.NewJSONHandler(s.Err, &slog.HandlerOptions{Level: level}))
}

func (s *skep) discoveryServe() *cobra.Command {
	server := discovery.Server{}
	c := &cobra.Command{
		Use: "serve [flags]", Short: "Serve discovery over HTTP until stopped",
		Long: `Serve discovery over HTTP until a signal ends it.

  curl -X POST localhost:8080/                      a new id, as disco_id
  curl -d '{"addr":"http://10.0.0.5:4001"}' localhost:8080/ID    register
  curl localhost:8080/ID                            list
  curl -X DELETE -d '{"addr":…}' localhost:8080/ID  withdraw

"ttl" beside "addr" is for how many seconds it is registered. /healthz tells
whether the service works, /metrics is for Prometheus. The log goes to stderr,
a JSON object a line; -q leaves requests out of it. A limit of 0 is none.`,
		Example: `  skep discovery serve
  skep discovery serve --addr :443 --cert cert.pem --key key.pem --data /var/lib/discovery.db`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if server.File == "" {
				server.File = filepath.Join(s.home.State, "discovery.db")
				if err := s.home.Make(); err != nil {
					return err
				}
			}
			server.Log = s.records()
			return server.Run(c.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&server.Addr, "addr", ":8080", "address to listen on")
	f.StringVar(&server.File, "data", "", "file that keeps the ids (default in skep's own folder)")
	f.StringVar(&server.Cert, "cert", "", "certificate file, for TLS")
	f.StringVar(&server.Key, "key", "", "key file of the certificate")
	f.DurationVar(&server.Limits.Idle, "expire", 30*24*time.Hour, "delete an id that was not used for so long")
	f.IntVar(&server.Limits.Addresses, "max-addresses", 1000, "addresses of an id")
	f.IntVar(&server.Limits.ClientIDs, "max-client-ids", 1000, "ids of a client")
	f.IntVar(&server.Limits.IDs, "max-ids", 100_000, "ids of all clients")
	f.IntVar(&server.Rate, "rate", 100, "requests a second of a client")
	return c
}

func (s *skep) discoveryAnnounce() *cobra.Command {
	a := discovery.Announcement{}
	c := &cobra.Command{
		Use: "announce --id ID --addr ADDR [flags] -- COMMAND…", Short: "Announce an address while a command runs",
		Long: `Register an address, run a command, renew the registration until the command
ends, and withdraw it then. So any server that takes a list of peers to join
finds them: --join-format says how one is told, in the place of an argument {}
or at the end. Peers that do not answer are left out; where none answers and
this one is not the first of the list, the command waits for one. It finds the
peers' addresses in SKEP_PEERS, too.

skep ends with the command's exit code, and passes SIGTERM on to it.`,
		Example: `  skep discovery announce --id $ID --addr 10.0.0.5:29015 --join-format '--join {{.Host}}:29015' -- rethinkdb --bind all
  skep discovery announce --url https://disco.example.com --id $ID --addr http://10.0.0.5:4200 -- ./server {} --verbose`,
		Args: takes(1, -1),
		RunE: func(c *cobra.Command, args []string) error {
			if a.Client.ID == "" || a.Addr == "" {
				return usage.Errorf("announce needs --id and --addr: see `skep discovery announce --help`")
			}
			a.Command, a.Log = args, s.log()
			a.Client.HTTP = &http.Client{}
			a.Start = func(args, env []string) *exec.Cmd {
				child := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // what the user asked to run; it ends by a signal
				child.Env, child.Stdin, child.Stdout, child.Stderr = env, s.In, s.Out, s.Err
				return child
			}
			err := a.Run(c.Context())
			var exit discovery.ExitError
			if errors.As(err, &exit) {
				return exitError{exit.Code}
			}
			if err != nil {
				return fmt.Errorf("announce %s: %w", a.Addr, err)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&a.Client.URL, "url", "http://localhost:8080", "the service")
	f.StringVar(&a.Client.ID, "id", "", "id that the cluster shares")
	f.StringVar(&a.Addr, "addr", "", "address to announce, as http://10.0.0.5:4001 or 10.0.0.5:4001")
	f.DurationVar(&a.TTL, "ttl", time.Minute, "how long the address stays when skep is killed")
	f.StringVar(&a.Join, "join-format", "", "arguments for each peer, with {{.Host}}, {{.Port}} and {{.Addr}}")
	f.StringVar(&a.Port, "peer-port", "", "port where peers answer (default that of their address)")
	return c
}

func (s *skep) discoveryDNS() *cobra.Command {
	d := discovery.DNS{Lookup: discovery.Lookup}
	var records []string
	c := &cobra.Command{
		Use: "dns --srv NAME=HOST:PORT [flags]", Short: "Serve SRV records of hosts that are found by their addresses alone",
		Long: `Serve DNS with SRV records: one for each address that the host resolves to, at
that moment, with the port. All other questions fail, so that a resolver asks
its next server. /healthz tells over HTTP that it works.`,
		Example: "  skep discovery dns --srv _rqlite-svc._tcp.rqlite=tasks.rqlite:4002",
		Args:    takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			for _, text := range records {
				r, err := discovery.ParseSRV(text)
				if err != nil {
					return err
				}
				d.Records = append(d.Records, r)
			}
			d.Log = s.records()
			return d.Run(c.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&d.Addr, "addr", ":53", "address to listen on, by UDP and TCP")
	f.StringVar(&d.Health, "health", "localhost:8053", "address of /healthz")
	f.StringArrayVar(&records, "srv", nil, "record")
	return c
}
