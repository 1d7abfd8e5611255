package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	// maxBody is much more than an address takes.
	maxBody = 4096
	// maxTTL bounds what a registration may ask for: a day.
	maxTTL = 24 * 60 * 60
)

// handler answers the requests:
//
//	POST   /       a new id
//	POST   /ID     {"addr":"http://10.0.0.5:4001","ttl":60} registers, the ttl in
//	               seconds and left out for ever; the answer has all addresses
//	GET    /ID     all addresses
//	DELETE /ID     {"addr":…} withdraws
//	GET    /healthz, /metrics
//
// A slash too many is nothing to redirect for: clients append to what they are
// given, and not all follow a redirect of a POST.
type handler struct {
	store   *store
	limiter *limiter
	metrics *metrics
	log     *slog.Logger
}

// refusal is an error with the status that tells it.
type refusal struct {
	code int
	err  error
}

func (r refusal) Error() string { return r.err.Error() }

func refuse(code int, format string, args ...any) error {
	return refusal{code, fmt.Errorf(format, args...)}
}

// answering is a ResponseWriter that knows what was answered.
type answering struct {
	http.ResponseWriter
	code  int
	bytes int
}

func (a *answering) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

func (a *answering) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.bytes += n
	return n, err
}

func (h *handler) ServeHTTP(plain http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	client := clientOf(r.RemoteAddr)
	w := &answering{ResponseWriter: plain, code: http.StatusOK}
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			h.fail(w, refuse(http.StatusInternalServerError, "the service failed"))
		}
		took := time.Since(begin)
		h.metrics.count(r.Method, w.code, took, w.code == http.StatusTooManyRequests)
		h.log.Info("request", "client", client, "method", r.Method, "path", r.URL.Path, "status", w.code,
			"bytes", w.bytes, "ms", float64(took.Microseconds())/1000)
	}()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch path := strings.Trim(r.URL.Path, "/"); path {
	case "healthz":
		h.health(w, r)
	case "metrics":
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		h.metrics.write(w, h.store.ids.Load())
	default:
		if !h.limiter.allow(client) {
			w.Header().Set("Retry-After", "1")
			h.fail(w, refuse(http.StatusTooManyRequests, "too many requests of %s, try again in a second", client))
			return
		}
		answer, err := h.answer(w, r, path, client)
		if err != nil {
			h.fail(w, err)
			return
		}
		h.reply(w, http.StatusOK, answer)
	}
}

func (h *handler) health(w *answering, r *http.Request) {
	if _, err := h.store.list(uuid.Nil.String()); err != nil && !errors.Is(err, errUnknown) {
		h.log.ErrorContext(r.Context(), "not healthy", "error", err)
		h.fail(w, refuse(http.StatusServiceUnavailable, "the file cannot be read"))
		return
	}
	h.reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (h *handler) answer(w *answering, r *http.Request, path, client string) (Answer, error) {
	if path == "" {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			return Answer{}, refuse(http.StatusMethodNotAllowed, "POST / makes an id, and there is nothing else here")
		}
		answer, err := h.store.create(client)
		if err == nil {
			w.Header().Set("Location", "/"+answer.DiscoID)
		}
		return answer, err
	}
	parsed, err := uuid.Parse(path)
	if err != nil || len(path) != len(uuid.Nil.String()) {
		return Answer{}, errUnknown
	}
	id := parsed.String()
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return h.store.list(id)
	case http.MethodPost, http.MethodPut:
		body, err := read(r.Body)
		if err != nil {
			return Answer{}, err
		}
		return h.store.register(id, body.Addr, time.Duration(body.TTL)*time.Second)
	case http.MethodDelete:
		body, err := read(r.Body)
		if err != nil {
			return Answer{}, err
		}
		return h.store.withdraw(id, body.Addr)
	}
	w.Header().Set("Allow", "GET, HEAD, POST, PUT, DELETE")
	return Answer{}, refuse(http.StatusMethodNotAllowed, "an id takes GET, POST and DELETE")
}

// registration is the body of a request.
type registration struct {
	Addr string `json:"addr"`
	TTL  int    `json:"ttl,omitempty"` // seconds; 0 for ever
}

func read(from io.Reader) (registration, error) {
	var body registration
	text, err := io.ReadAll(from)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return body, refuse(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", large.Limit)
	case err != nil:
		return body, refuse(http.StatusBadRequest, "the body ends too early")
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return body, refuse(http.StatusBadRequest, `the body is not {"addr":"http://HOST:PORT"}`)
	}
	if _, err := ParseAddress(body.Addr); err != nil {
		return body, refusal{http.StatusBadRequest, err}
	}
	if body.TTL < 0 || body.TTL > maxTTL {
		return body, refuse(http.StatusBadRequest, "ttl is in seconds, 0 (for ever) to %d", maxTTL)
	}
	return body, nil
}

// fail tells the error as JSON.
func (h *handler) fail(w *answering, err error) {
	var r refusal
	switch {
	case errors.As(err, &r):
	case errors.Is(err, errUnknown):
		r = refusal{http.StatusNotFound, err}
	case errors.Is(err, errAddresses):
		r = refusal{http.StatusForbidden, err}
	case errors.Is(err, errClientIDs):
		r = refusal{http.StatusTooManyRequests, err}
	case errors.Is(err, errIDs):
		r = refusal{http.StatusServiceUnavailable, err}
	default:
		h.log.Error("the store failed", "error", err)
		r = refusal{http.StatusInternalServerError, errors.New("the service could not keep it, try again")}
	}
	h.reply(w, r.code, map[string]string{"error": r.err.Error()})
}

func (h *handler) reply(w *answering, code int, what any) {
	text, err := json.Marshal(what)
	if err != nil {
		h.log.Error("answer", "error", err)
		code, text = http.StatusInternalServerError, []byte(`{"error":"the service failed"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if _, err := w.Write(append(text, '\n')); err != nil {
		h.log.Debug("the client went before its answer", "error", err)
	}
}
