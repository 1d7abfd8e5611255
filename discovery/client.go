package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Client speaks to the service at a base URL, for one id.
type Client struct {
	URL, ID string
	HTTP    *http.Client
}

const (
	clientTimeout = 10 * time.Second
	maxAnswer     = 1 << 20
)

// StatusError is an answer that is no success.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string { return e.Text }

// List tells the id's addresses.
func (c Client) List(ctx context.Context) (Answer, error) {
	return c.do(ctx, http.MethodGet, nil)
}

// Register adds the address for a while, 0 for ever, and tells all.
func (c Client) Register(ctx context.Context, addr string, ttl time.Duration) (Answer, error) {
	return c.do(ctx, http.MethodPost, &registration{Addr: addr, TTL: int(ttl / time.Second)})
}

// Withdraw takes the address away.
func (c Client) Withdraw(ctx context.Context, addr string) (Answer, error) {
	return c.do(ctx, http.MethodDelete, &registration{Addr: addr})
}

func (c Client) do(ctx context.Context, method string, what *registration) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	var body io.Reader
	if what != nil {
		text, err := json.Marshal(what)
		if err != nil {
			return Answer{}, err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+"/"+c.ID, body)
	if err != nil {
		return Answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.HTTP.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{}, err
	}
	if response.StatusCode != http.StatusOK {
		var told struct{ Error string }
		if json.Unmarshal(text, &told) != nil || told.Error == "" {
			told.Error = response.Status
		}
		return Answer{}, &StatusError{response.StatusCode, fmt.Sprintf("%s answers %s", c.URL, told.Error)}
	}
	var answer Answer
	if err := json.Unmarshal(text, &answer); err != nil || answer.DiscoID == "" {
		return Answer{}, fmt.Errorf("%s is no discovery service: its answer is %.40q", c.URL, text)
	}
	return answer, nil
}
