package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Neighbour is an engine that another one reaches without this computer.
type Neighbour struct {
	*Engine
	Address string // as the others see it
}

// Key tells engines apart that are logged in to with different keys: one passes
// images on to those alone that have its own. Those with "" have keys of the
// user's, which are not lent to machines.
func (e *Engine) Key() string {
	login := e.conn.Endpoint()
	if login.Login != nil {
		return ""
	}
	return login.KeyFile
}

// SendThrough writes the image to one engine, which passes it on to its
// neighbours as it comes: the bytes leave this computer once. The node logs in
// to the others with skep's key, which is lent to it for the time and does not
// leave this computer. The names of nodes that did not get the image are
// returned with why; they may be tried another way.
func (e *Engine) SendThrough(ctx context.Context, cargo Cargo, skip int, neighbours []Neighbour, told func(Sent)) (missed map[string]error, err error) {
	script := relayScript(neighbours)
	stream, written, err := e.stream(cargo, skip, told)
	if err != nil {
		return nil, err
	}
	defer e.conn.Labour()()
	out, err := e.conn.RunWithKey(ctx, script, stream)
	_ = stream.CloseWithError(errors.New("load ended"))
	if err = errors.Join(err, <-written); err != nil {
		return nil, fmt.Errorf("load an image on %s and %d neighbours: %w", e.Node(), len(neighbours), err)
	}
	return relayed(out), nil
}

// relayScript copies its input to a docker load here and to one at each
// neighbour. It prints a line for each neighbour that failed, with its words.
func relayScript(neighbours []Neighbour) string {
	var known, begin, pipes, end strings.Builder
	for i, n := range neighbours {
		login := n.conn.Endpoint()
		port := "22"
		if host, p, err := net.SplitHostPort(login.Address); err == nil && host == n.Address {
			port = p
		}
		fmt.Fprintf(&known, "%s\n", n.conn.KnownHost())
		fmt.Fprintf(&pipes, ` "$d/%d"`, i)
		fmt.Fprintf(&begin, `mkfifo "$d/%[1]d"
ssh -T -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=4 -o StrictHostKeyChecking=yes -o UserKnownHostsFile="$d/known" -o GlobalKnownHostsFile=/dev/null -o HostKeyAlias=%[2]s -o Ciphers=aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com -p %[3]s %[4]s@%[5]s %[6]s <"$d/%[1]d" >"$d/%[1]d.out" 2>&1 &
p%[1]d=$!
`, i, quote(n.Node()), port, quote(login.User), n.Address, quote(loadHere))
		fmt.Fprintf(&end, `wait $p%[1]d || echo "missed %[2]s $(tr '\n' ' ' <"$d/%[1]d.out")"
`, i, n.Node())
	}
	// A neighbour that is gone must not end the copying to the others.
	return `command -v ssh >/dev/null && command -v mkfifo >/dev/null || { echo "ssh or mkfifo is not there" >&2; exit 1; }
umask 077; d=$(mktemp -d) || exit 1; trap 'rm -rf "$d"' EXIT
printf %s ` + quote(known.String()) + ` >"$d/known"
` + begin.String() + `{ (trap '' PIPE; exec tee` + pipes.String() + `); } | { ` + loadHere + `; } >"$d/out" 2>&1; ok=$?
` + end.String() + `[ $ok = 0 ] || { cat "$d/out" >&2; exit 1; }
`
}

// loadHere loads an image into the engine of the machine it is run on.
const loadHere = `if [ -w ` + dockerSocket + ` ]; then docker load -q; else sudo -n docker load -q; fi`

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// relayed reads what relayScript printed.
func relayed(out string) map[string]error {
	missed := map[string]error{}
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "missed "); ok {
			node, why, _ := strings.Cut(rest, " ")
			missed[node] = errors.New(strings.TrimSpace(why))
		}
	}
	return missed
}
