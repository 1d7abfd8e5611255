package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"skep/nodes"
	"skep/providers"
	"skep/usage"

	"golang.org/x/term"
)

// agree shows what machines will cost and asks whether they may be made. Where
// nobody can be asked, it has to be said beforehand.
func (s *skep) agree(ctx context.Context, env string, specs []providers.Spec, yes bool) error {
	quote := nodes.Quote(specs)
	if quote == "" {
		return nil
	}
	s.log().Info(env + " gets " + quote)
	if yes {
		return nil
	}
	if in, ok := s.In.(*os.File); !ok || !term.IsTerminal(int(in.Fd())) { // #nosec G115 -- a file descriptor
		return usage.Errorf("they cost money: say --yes where nobody can be asked")
	}
	_, _ = fmt.Fprint(s.Err, "Make them? [y/N] ")
	typed, err := s.line(ctx)
	if err != nil {
		return err
	}
	switch strings.ToLower(typed) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was made")
}

// line reads what is typed. A read of a terminal cannot be broken off: when ctx
// ends it is left behind, to end with skep.
func (s *skep) line(ctx context.Context) (string, error) {
	typed := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(s.In).ReadString('\n')
		typed <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case line := <-typed:
		return line, nil
	}
}

// driverOptions reads KEY=VALUE.
func driverOptions(given []string) (map[string]string, error) {
	options := map[string]string{}
	for _, o := range given {
		key, value, ok := strings.Cut(o, "=")
		if !ok || key == "" {
			return nil, usage.Errorf("--driver-opt %q is not KEY=VALUE", o)
		}
		options[key] = value
	}
	return options, nil
}
