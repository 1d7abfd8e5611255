package cmd

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"skep/services"
	"skep/usage"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (s *skep) appList() *cobra.Command {
	return &cobra.Command{
		Use: "ls ENV", Short: "List apps, and how many of their tasks run", Example: "  skep app ls dev --json",
		Args: takes(1, 1), ValidArgsFunction: s.completeEnv,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[0])
			if err != nil {
				return err
			}
			defer e.Close()
			rows, err := s.executor(e).Apps(c.Context(), "")
			if err != nil {
				return err
			}
			return s.print(rows, func(w io.Writer) {
				row(w, "APP", "SERVICE", "IMAGE", "TASKS", "PORTS", "UPDATE", "UPDATED")
				for _, a := range rows {
					row(w, a.App, a.Service, a.Image, fmt.Sprintf("%d/%d", a.Running, a.Wanted), strings.Join(a.Ports, ","), a.Update, ago(a.Updated))
				}
			})
		},
	}
}

func ago(t time.Time) string { return time.Since(t).Round(time.Second).String() + " ago" }

func (s *skep) appTasks() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "ps [-a] NAME ENV", Short: "List the tasks of an app", Example: "  skep app ps hello dev\n  skep app ps -a hello dev",
		Args: takes(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[1])
			if err != nil {
				return err
			}
			defer e.Close()
			rows, err := s.executor(e).AppTasks(c.Context(), args[0], all)
			if err != nil {
				return err
			}
			return s.print(rows, func(w io.Writer) {
				row(w, "TASK", "NODE", "STATE", "SINCE", "ERROR")
				for _, t := range rows {
					row(w, t.Task, t.Node, t.State, ago(t.Since), t.Error)
				}
			})
		},
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "past tasks, too")
	return c
}

func (s *skep) appLogs() *cobra.Command {
	var o services.LogOptions
	var tail string
	c := &cobra.Command{
		Use: "logs [-f] [--tail N] [--since TIME] NAME ENV", Short: "Show what the tasks of an app write, of all together",
		Long: `Show what the tasks of an app write, interleaved by time, each line with its task
in front; on a terminal each task has a colour. With --json each line is an object.`,
		Example: "  skep app logs -f hello dev\n  skep app logs --tail 20 --since 10m hello dev",
		Args:    takes(2, 2), ValidArgsFunction: s.completeEnvAfter(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Tail = -1
			if tail != "all" {
				n, err := strconv.Atoi(tail)
				if err != nil || n < 0 {
					return usage.Errorf("--tail takes a number of lines, or all, not %q", tail)
				}
				o.Tail = n
			}
			e, err := s.environment(args[1])
			if err != nil {
				return err
			}
			defer e.Close()
			return s.executor(e).AppLogs(c.Context(), args[0], o, s.logLine())
		},
	}
	c.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on as more is written")
	c.Flags().StringVar(&tail, "tail", "all", "last lines of each task")
	c.Flags().StringVar(&o.Since, "since", "", "from a time on (2006-01-02T15:04:05) or for a span (10m)")
	return c
}

// logLine writes a line of an app's log.
func (s *skep) logLine() func(services.LogLine) {
	if s.asJSON {
		out := json.NewEncoder(s.Out)
		return func(l services.LogLine) { _ = out.Encode(l) }
	}
	colours := s.colours()
	return func(l services.LogLine) {
		if !colours {
			_, _ = fmt.Fprintf(s.Out, "%s | %s\n", l.Task, l.Text)
			return
		}
		sum := fnv.New32a()
		_, _ = io.WriteString(sum, l.Task)
		_, _ = fmt.Fprintf(s.Out, "\x1b[%dm%s |\x1b[0m %s\n", 31+sum.Sum32()%6, l.Task, l.Text)
	}
}

// colours says whether stdout is a terminal whose user has nothing against them.
func (s *skep) colours() bool {
	f, ok := s.Out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

func (s *skep) appScale() *cobra.Command {
	return &cobra.Command{
		Use: "scale NAME REPLICAS ENV", Short: "Change how many tasks an app has", Example: "  skep app scale hello 6 dev",
		Args: takes(3, 3), ValidArgsFunction: s.completeEnvAfter(2),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 0 {
				return usage.Errorf("%q is not a number of replicas", args[1])
			}
			e, err := s.environment(args[2])
			if err != nil {
				return err
			}
			defer e.Close()
			change, err := s.executor(e).ScaleApp(c.Context(), args[0], n)
			if err != nil {
				return err
			}
			return s.print(map[string]any{"app": args[0], "change": change, "replicas": n}, nothing)
		},
	}
}

func (s *skep) appRollback() *cobra.Command {
	return &cobra.Command{
		Use: "rollback NAME ENV", Short: "Put the version of an app before the last deploy back",
		Long: `Put back what the last deploy of an app changed, and only that. The swarm keeps one
version before, and forgets it at a change of the scale and at a deploy that fails.`,
		Example: "  skep app rollback hello dev",
		Args:    takes(2, 2), ValidArgsFunction: s.completeEnvAfter(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.environment(args[1])
			if err != nil {
				return err
			}
			defer e.Close()
			back, err := s.executor(e).RollbackApp(c.Context(), args[0])
			if err != nil {
				return err
			}
			return s.print(map[string]any{"app": args[0], "services": back}, nothing)
		},
	}
}

// nothing is what a command prints for people that has told them all already.
func nothing(io.Writer) {}
