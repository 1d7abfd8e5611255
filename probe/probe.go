// Package probe proves that data gets from one node to another: it serves and
// makes transfers between containers, and measures how large packets may be
// between machines. It runs on the nodes, as skep itself.
//
// It depends on nothing of skep.
package probe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Port is where a probe serves.
	Port = 7007

	small = 64      // bytes that fit in any packet
	large = 1 << 20 // bytes that fill packets
	// Members of an overlay network hear of each other by gossip, which exchanges
	// all that it knows every 30 seconds.
	smallPatience = 35 * time.Second
	smallTimeout  = 2 * time.Second
	largePatience = 20 * time.Second
)

// Result is how transfers to an address went.
type Result struct {
	To    string `json:"to"`
	Small bool   `json:"small"` // single packets pass, both ways
	Large bool   `json:"large"` // and so does bulk data
	Words string `json:"words"` // what failed
}

// Serve answers other probes until the context ends.
func Serve(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+strconv.Itoa(Port))
	if err != nil {
		return fmt.Errorf("serve the probe: %w", err)
	}
	server := &http.Server{Handler: Handler(Port), ReadHeaderTimeout: largePatience}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Handler answers probes that serve at the port, and makes transfers to them.
func Handler(port int) http.Handler {
	mux := http.NewServeMux()
	// What is posted is answered by its digest.
	mux.HandleFunc("POST /digest", func(w http.ResponseWriter, r *http.Request) {
		hash := sha256.New()
		if _, err := io.Copy(hash, io.LimitReader(r.Body, 2*large)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprint(w, hex.EncodeToString(hash.Sum(nil)))
	})
	mux.HandleFunc("GET /bulk", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data(large)) })
	mux.HandleFunc("GET /try", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(try(r.Context(), strings.Fields(r.URL.Query().Get("to")), port))
	})
	return mux
}

// data is bytes that both ends know.
func data(n int) []byte {
	all := make([]byte, n)
	for i := range all {
		all[i] = byte((i ^ i>>8 ^ i>>16) & 0xff) // #nosec G115 -- a byte
	}
	return all
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// try makes transfers to all addresses at once.
func try(ctx context.Context, to []string, port int) []Result {
	results := make([]Result, len(to))
	var trying sync.WaitGroup
	for i, address := range to {
		trying.Go(func() { results[i] = tryOne(ctx, address, port) })
	}
	trying.Wait()
	return results
}

func tryOne(ctx context.Context, address string, port int) Result {
	r := Result{To: address}
	url := "http://" + net.JoinHostPort(address, strconv.Itoa(port))
	patient, cancel := context.WithTimeout(ctx, smallPatience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !r.Small {
		err := post(patient, url, small, smallTimeout)
		if r.Small = err == nil; r.Small {
			break
		}
		if patient.Err() == nil || r.Words == "" { // the last try was cut short
			r.Words = err.Error()
		}
		select {
		case <-patient.Done():
			return r
		case <-tick.C:
		}
	}
	// One way after the other, so that the words are of the first that fails.
	err := post(ctx, url, large, largePatience)
	if err == nil {
		err = get(ctx, url, largePatience)
	}
	if err != nil {
		r.Words = err.Error()
		return r
	}
	r.Large, r.Words = true, ""
	return r
}

func post(ctx context.Context, url string, n int, limit time.Duration) error {
	sent := data(n)
	got, err := ask(ctx, http.MethodPost, url+"/digest", sent, limit)
	if err == nil && string(got) != digest(sent) {
		err = fmt.Errorf("what arrived is not what was sent: %.64q", got)
	}
	return err
}

func get(ctx context.Context, url string, limit time.Duration) error {
	got, err := ask(ctx, http.MethodGet, url+"/bulk", nil, limit)
	if err == nil && !bytes.Equal(got, data(large)) {
		err = fmt.Errorf("what came is not what was sent: %d bytes", len(got))
	}
	return err
}

// ask makes one request over a connection of its own, so that each begins with
// small packets.
func ask(ctx context.Context, method, url string, body []byte, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
	defer cancel()
	// #nosec G704 -- to be told where to is its purpose
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no HTTP_PROXY
	answer, err := client.Do(r)                                                 // #nosec G704 -- as above
	var got []byte
	if err == nil {
		defer func() { _ = answer.Body.Close() }()
		got, err = io.ReadAll(io.LimitReader(answer.Body, 2*large))
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return got, err
}
