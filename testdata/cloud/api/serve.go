package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	callsAnHour = 5000
	retryAfter  = "1" // in seconds
)

// ServeHTTP implements http.Handler. Below /_control/ is what tests set and ask.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_control/") {
		c.mux.ServeHTTP(w, r)
		return
	}
	c.mu.Lock()
	c.calls[kindOf(r)]++
	total := 0
	for _, n := range c.calls {
		total += n
	}
	tooMany := take(&c.faults.TooMany)
	broken := !tooMany && take(&c.faults.Broken)
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("RateLimit-Limit", strconv.Itoa(callsAnHour))
	w.Header().Set("RateLimit-Remaining", strconv.Itoa(max(0, callsAnHour-total)))
	w.Header().Set("RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
	w.Header().Set("X-Request-Id", fmt.Sprintf("request-%d", total))
	switch {
	case r.Header.Get("Authorization") != "Bearer "+c.token:
		refuse(w, http.StatusUnauthorized, "Unauthorized", "Unable to authenticate you")
	case tooMany:
		w.Header().Set("Retry-After", retryAfter)
		refuse(w, http.StatusTooManyRequests, "too_many_requests", "API Rate limit exceeded.")
	case broken:
		refuse(w, http.StatusInternalServerError, "server_error", "Unexpected server-side error")
	default:
		c.mux.ServeHTTP(w, r)
	}
}

// kindOf names a call without what differs from one to the next.
func kindOf(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	for i, part := range parts {
		if i > 1 && part != "keys" && part != "actions" && part != "resources" {
			parts[i] = "*"
		}
	}
	return r.Method + " /" + strings.Join(parts, "/")
}

func (c *Cloud) routes() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /v2/account", c.getAccount)
	m.HandleFunc("GET /v2/regions", c.listRegions)
	m.HandleFunc("GET /v2/sizes", c.listSizes)
	m.HandleFunc("GET /v2/images", c.listImages)
	m.HandleFunc("GET /v2/images/{image}", c.getImage)
	m.HandleFunc("GET /v2/account/keys", c.listKeys)
	m.HandleFunc("POST /v2/account/keys", c.createKey)
	m.HandleFunc("GET /v2/account/keys/{key}", c.getKey)
	m.HandleFunc("DELETE /v2/account/keys/{key}", c.deleteKey)
	m.HandleFunc("GET /v2/tags", c.listTags)
	m.HandleFunc("POST /v2/tags", c.createTag)
	m.HandleFunc("GET /v2/tags/{tag}", c.getTag)
	m.HandleFunc("DELETE /v2/tags/{tag}", c.deleteTag)
	m.HandleFunc("POST /v2/tags/{tag}/resources", c.tagResources)
	m.HandleFunc("GET /v2/droplets", c.listDroplets)
	m.HandleFunc("POST /v2/droplets", c.createDroplets)
	m.HandleFunc("DELETE /v2/droplets", c.deleteByTag)
	m.HandleFunc("GET /v2/droplets/{id}", c.getDroplet)
	m.HandleFunc("DELETE /v2/droplets/{id}", c.deleteDroplet)
	m.HandleFunc("POST /v2/droplets/{id}/actions", c.act)
	m.HandleFunc("GET /_control/state", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, c.State()) })
	m.HandleFunc("POST /_control/forget", func(http.ResponseWriter, *http.Request) { c.Forget() })
	m.HandleFunc("POST /_control/faults", func(w http.ResponseWriter, r *http.Request) {
		var f Faults
		if read(w, r, &f) {
			c.Set(f)
		}
	})
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { missing(w) })
	return m
}

func answer(w http.ResponseWriter, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(code)
	_, _ = w.Write(text)
}

func refuse(w http.ResponseWriter, code int, id, message string) {
	answer(w, code, map[string]string{"id": id, "message": message, "request_id": w.Header().Get("X-Request-Id")})
}

func unprocessable(w http.ResponseWriter, message string) {
	refuse(w, http.StatusUnprocessableEntity, "unprocessable_entity", message)
}

func missing(w http.ResponseWriter) {
	refuse(w, http.StatusNotFound, "not_found", "The resource you were accessing could not be found.")
}

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		refuse(w, http.StatusBadRequest, "bad_request", "Unable to parse JSON: "+err.Error())
		return false
	}
	return true
}

// page answers with a part of a list, twenty where the call says nothing and
// two hundred at most.
func page[T any](w http.ResponseWriter, r *http.Request, name string, all []T) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil && n > 0 {
			return n
		}
		return otherwise
	}
	size, at := min(number("per_page", 20), 200), number("page", 1)
	last := max(1, (len(all)+size-1)/size)
	from := min((at-1)*size, len(all))
	links := map[string]string{}
	to := func(p int) string {
		q := r.URL.Query()
		q.Set("page", strconv.Itoa(p))
		return "http://" + r.Host + r.URL.Path + "?" + q.Encode()
	}
	if at < last {
		links["next"], links["last"] = to(at+1), to(last)
	}
	if at > 1 {
		links["prev"], links["first"] = to(at-1), to(1)
	}
	some := append([]T{}, all[from:min(from+size, len(all))]...)
	answer(w, http.StatusOK, map[string]any{
		name: some, "links": map[string]any{"pages": links}, "meta": map[string]int{"total": len(all)},
	})
}
