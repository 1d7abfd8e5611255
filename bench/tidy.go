//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const label = "skep.env"

// kinds are what an environment has on the engine, in the order of removal.
func kinds() []kind {
	return []kind{
		{[]string{"ps", "-a"}, "{{.ID}}", []string{"rm", "-f", "-v"}},
		{[]string{"volume", "ls"}, "{{.Name}}", []string{"volume", "rm", "-f"}},
		{[]string{"network", "ls"}, "{{.ID}}", []string{"network", "rm"}},
	}
}

type kind struct {
	list   []string
	format string
	remove []string
}

// remove removes everything that carries the environment's label: by plain
// docker commands, as a benchmark should clean up even where skep would not.
func remove(ctx context.Context, env string) error {
	errs := []error{disconnect(ctx, env)}
	for _, k := range kinds() {
		out, err := docker(ctx, append(k.list, "--filter", "label="+label+"="+env, "--format", k.format)...)
		if names := strings.Fields(out); err == nil && len(names) > 0 {
			_, err = docker(ctx, append(k.remove, names...)...)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove %s: %w", env, err)
	}
	return nil
}

// disconnect takes the containers off their network one after another. Engine
// 20.10 can miscount a network's endpoints when several go at once, and does not
// remove the network until it is restarted.
func disconnect(ctx context.Context, env string) error {
	out, err := docker(ctx, "ps", "-a", "--filter", "label="+label+"="+env, "--format", "{{.Names}} {{.Networks}}")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(out, "\n") {
		container, network, _ := strings.Cut(line, " ")
		if network == "" || network == "none" {
			continue
		}
		if _, err := docker(ctx, "network", "disconnect", "-f", network, container); err != nil {
			return err
		}
	}
	return nil
}

var (
	ourEnv  = regexp.MustCompile(`^bench-([0-9]+)-(?:` + strings.Join([]string{suffixSkep, suffixFloor, suffixShape, suffixThree}, "|") + `)$`)
	ourHome = regexp.MustCompile(`^` + homes + `/skep-bench-([0-9]+)-[0-9]+$`)
)

// orphan says whether a name is of a run whose process is gone.
func orphan(name string, of *regexp.Regexp) bool {
	match := of.FindStringSubmatch(name)
	if match == nil {
		return false
	}
	pid, err := strconv.Atoi(match[1])
	return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// sweep removes what runs left that were killed.
func (b *bench) sweep(ctx context.Context) error {
	var envs []string
	for _, k := range kinds() {
		out, err := docker(ctx, append(k.list, "--filter", "label="+label, "--format", `{{.Label "`+label+`"}}`)...)
		if err != nil {
			return err
		}
		envs = append(envs, strings.Fields(out)...)
	}
	slices.Sort(envs)
	for _, env := range slices.Compact(envs) {
		if !orphan(env, ourEnv) {
			continue
		}
		b.say("removing %s, which a killed run left", env)
		if err := remove(ctx, env); err != nil {
			b.say("%v", err)
		}
	}
	folders, err := filepath.Glob(homes + "/skep-bench-*")
	for _, f := range folders {
		if orphan(f, ourHome) {
			err = errors.Join(err, os.RemoveAll(f))
		}
	}
	return err
}
