package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"skep/nodes"
	"skep/services"
	"skep/services/rethink"

	"github.com/spf13/cobra"
)

func (s *skep) rethinkCommand() *cobra.Command {
	d := database{
		name: services.RethinkName, title: "RethinkDB", services: regexp.MustCompile(`^(rethink|db[0-9]+)$`),
		page: services.RethinkName, port: services.RethinkPort,
		forget: func(_ context.Context, e *nodes.Environment) error {
			if err := os.Remove(s.home.RethinkPassword(e.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		},
	}
	open := s.pageOpen(d, func(ctx context.Context, e *nodes.Environment) (string, error) { return s.rethink(e).Scheme(ctx) })
	return group(d.name, "RethinkDB: the seed db0, and db1 … on every node",
		s.rethinkCreate(), open, s.rethinkStatus(), s.rethinkHA(), s.rethinkDump(), s.rethinkRestore(), s.databaseRemove(d))
}

func (s *skep) rethink(e *nodes.Environment) services.RethinkDB {
	return services.RethinkDB{Executor: s.executor(e), Name: e.Name, PasswordFile: s.home.RethinkPassword(e.Name)}
}

// onRethink opens the environment that the first argument names.
func (s *skep) onRethink(run func(c *cobra.Command, d services.RethinkDB, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		e, err := s.environment(args[0])
		if err != nil {
			return err
		}
		defer e.Close()
		return run(c, s.rethink(e), args)
	}
}

func (s *skep) rethinkCreate() *cobra.Command {
	var o services.RethinkOptions
	var passwordFile string
	var speakTLS bool
	c := &cobra.Command{
		Use: "create [flags] ENV", Short: "Create the RethinkDB cluster, or bring it to what it should be",
		Long: `Create the RethinkDB cluster on an environment: the seed db0 on one manager's
node, and db1 … dbN on every node. It returns when every server sees every other
and the database knows of no issue.

Run again it puts right what is not as it should be, and leaves what is. Data
files are never touched. Fewer joiners (-n) are refused while a table has its
only replica on one that would go.

The admin password is made at the first create unless --password-file gives it.
It is the secret rethink-password of the swarm, for apps, and a file on this
computer that the other commands use.`,
		Example: "  skep rethink create dev\n  skep rethink create -n 2 --cache-size 512 dev\n  skep rethink create --rotate-certs tst",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: s.onRethink(func(c *cobra.Command, d services.RethinkDB, _ []string) (err error) {
			if passwordFile != "" {
				if o.Password, err = services.Password(passwordFile); err != nil {
					return err
				}
			}
			if c.Flags().Changed("tls") {
				o.TLS = &speakTLS
			}
			if !c.Flags().Changed("image") {
				o.Image = "" // what the cluster has
			}
			if err := d.Create(c.Context(), o); err != nil {
				return err
			}
			s.log().Info("RethinkDB is whole on " + d.Name)
			return nil
		}),
	}
	f := c.Flags()
	f.IntVarP(&o.Joiners, "joiners", "n", 0, "how many servers join the seed on every node (default as many as there are, else 1)")
	f.StringVar(&o.Image, "image", services.RethinkImage, "image of the server (default what the cluster has)")
	f.IntVar(&o.CacheMB, "cache-size", 0, "cache of each server in MB (default its share of a third of the node's memory)")
	f.StringVar(&passwordFile, "password-file", "", "file with the admin password to set")
	f.BoolVar(&speakTLS, "tls", false, "encrypt cluster, driver and web ports (default where a node is not local)")
	f.BoolVar(&o.Rotate, "rotate-certs", false, "make new certificates, a server at a time")
	return c
}

func (s *skep) rethinkStatus() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "status [--watch] ENV", Short: "Show servers, tables and issues; exit code 1 when the cluster is not whole",
		Example: "  skep rethink status dev --json\n  skep rethink status --watch dev",
		Args:    takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: s.onRethink(func(c *cobra.Command, d services.RethinkDB, _ []string) error {
			if watch {
				return s.watch(c.Context(), func(ctx context.Context) (func(io.Writer), error) {
					status, err := d.Status(ctx)
					return func(w io.Writer) { rethinkRows(w, status) }, err
				})
			}
			status, err := d.Status(c.Context())
			if err != nil {
				return err
			}
			err = s.print(status, func(w io.Writer) { rethinkRows(w, status) })
			if err == nil && !status.Ready {
				err = exitError{failed}
			}
			return err
		}),
	}
	c.Flags().BoolVar(&watch, "watch", false, "show it again every second until Ctrl-C")
	return c
}

func rethinkRows(w io.Writer, status services.RethinkStatus) {
	row(w, "SERVER", "NODE", "REGION", "ADDRESS", "VERSION", "UPTIME", "CONNECTED", "READY")
	for _, r := range status.Servers {
		row(w, r.Name, r.Node, r.Region, r.Address, strings.TrimPrefix(r.Version, "rethinkdb "), time.Duration(r.Uptime)*time.Second, r.Connected, r.Ready)
	}
	if len(status.Tables) > 0 {
		_, _ = fmt.Fprintln(w)
		row(w, "TABLE", "SHARDS", "REPLICAS", "STATUS")
		for _, t := range status.Tables {
			row(w, t.DB+"."+t.Name, t.Shards, t.Replicas, t.TableStatus)
		}
	}
	for _, i := range status.Issues {
		_, _ = fmt.Fprintf(w, "issue: %s\n", i.Description)
	}
	if !status.Ready {
		_, _ = fmt.Fprintf(w, "not whole: %s\n", status.Missing)
	}
}

func (s *skep) rethinkHA() *cobra.Command {
	var apply, repair, force bool
	c := &cobra.Command{
		Use: "ha [--apply] ENV [DB[.TABLE]]", Short: "Plan where replicas of tables go so that no loss of a node loses data, and place them",
		Long: `Plan where the replicas of tables go: min(3, servers) of each, spread over
regions, then over nodes, so that the loss of a node, or of a region where there
are several, loses no data. --apply places them and returns when all have the
data; servers then carry tags of their node and region.

A table that has lost the majority of its replicas for good comes back only by
--emergency-repair, which goes on with what is left: what only the lost servers
had is gone. It asks for the environment's name.`,
		Example: "  skep rethink ha dev\n  skep rethink ha --apply dev shop.orders",
		Args:    takes(1, 2), ValidArgsFunction: s.completeEnv,
		RunE: s.onRethink(func(c *cobra.Command, d services.RethinkDB, args []string) error {
			of := strings.Join(args[1:], "")
			if repair {
				return s.rethinkRepair(c.Context(), d, of, force)
			}
			plan, err := d.HA(c.Context(), of, apply)
			if err != nil {
				return err
			}
			return s.print(plan, func(w io.Writer) {
				row(w, "TABLE", "SHARD", "REPLICAS", "PLANNED", "PRIMARY")
				for _, p := range plan {
					planned := "as they are"
					if p.Changes {
						planned = strings.Join(p.Planned, ",")
					}
					row(w, p.Table, p.Shard, strings.Join(p.Now, ","), planned, p.Primary)
				}
			})
		}),
	}
	f := c.Flags()
	f.BoolVar(&apply, "apply", false, "place the replicas as planned")
	f.BoolVar(&repair, "emergency-repair", false, "let tables without a majority go on with the replicas that are left")
	f.BoolVarP(&force, "force", "f", false, "do not ask for the environment's name")
	c.MarkFlagsMutuallyExclusive("apply", "emergency-repair")
	return c
}

func (s *skep) rethinkRepair(ctx context.Context, d services.RethinkDB, of string, force bool) error {
	damaged, err := d.Damaged(ctx, of)
	if err != nil {
		return err
	}
	if len(damaged) == 0 {
		s.log().Info("no table needs it")
		return nil
	}
	if !force {
		if err := s.confirm(ctx, d.Name, "gives up what only the lost servers have of "+strings.Join(damaged, ", ")); err != nil {
			return err
		}
	}
	return d.Repair(ctx, damaged)
}

func (s *skep) rethinkDump() *cobra.Command {
	return &cobra.Command{
		Use: "dump ENV FILE", Short: "Write all tables to an archive on this computer",
		Long: `Write all tables, their definitions and indexes to one archive: gzipped lines of
JSON, each table with its number of documents and a hash of them. The file has
its name only once it is whole. Users and permissions are not in it.`,
		Example: "  skep rethink dump dev dev.jsonl.gz",
		Args:    takes(2, 2), ValidArgsFunction: s.completeEnv,
		RunE: s.onRethink(func(c *cobra.Command, d services.RethinkDB, args []string) error {
			sums, err := d.Dump(c.Context(), args[1], s.counting("dumping"))
			return s.printSums(sums, err)
		}),
	}
}

func (s *skep) rethinkRestore() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "restore [--force] ENV FILE", Short: "Make the tables of an archive anew",
		Long: `Make the tables of an archive anew, with their indexes. They take their names
only when all documents of all tables are back and were read again to be the
same: a restore that fails changes nothing. A cluster that has tables is refused,
unless --force replaces those of the archive.`,
		Example: "  skep rethink restore tst dev.jsonl.gz",
		Args:    takes(2, 2), ValidArgsFunction: s.completeEnv,
		RunE: s.onRethink(func(c *cobra.Command, d services.RethinkDB, args []string) error {
			sums, err := d.Restore(c.Context(), args[1], force, s.counting("restoring"))
			return s.printSums(sums, err)
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "replace tables of the archive that the cluster has")
	return c
}

func (s *skep) printSums(sums []rethink.TableSum, err error) error {
	if err != nil {
		return err
	}
	return s.print(sums, func(w io.Writer) {
		row(w, "TABLE", "DOCUMENTS", "SHA256")
		for _, t := range sums {
			row(w, t.DB+"."+t.Name, t.Documents, t.SHA256)
		}
	})
}
