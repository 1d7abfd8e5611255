package digitalocean

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/digitalocean/godo"
)

const (
	mostTries    = 6
	mostPatience = 2 * time.Minute // that a rate limit may ask for
	answerWithin = time.Minute
)

// client is made at its first use.
func (d *Driver) client() (*godo.Client, error) {
	d.once.Do(func() { d.api, d.openErr = d.open() })
	return d.api, d.openErr
}

func (d *Driver) open() (*godo.Client, error) {
	c, err := findCredentials()
	if err != nil {
		return nil, err
	}
	root, err := url.Parse(c.api)
	if err != nil {
		return nil, err
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = answerWithin
	return godo.New(&http.Client{
		Transport: &patient{base: base, token: c.token, host: root.Host, retry: d.times().retry},
		// The API redirects nobody; the token follows nowhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, godo.SetBaseURL(strings.TrimSuffix(c.api, "/")+"/"), godo.SetUserAgent("skep/"+d.Version))
}

// patient repeats calls: always after 429, for that one was not carried out,
// and after a server's or the network's failure where a call may be carried out
// twice. The one that creates droplets may not: its caller looks first.
type patient struct {
	base        *http.Transport
	token, host string
	retry       time.Duration
}

// RoundTrip implements http.RoundTripper.
func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		again := req.Clone(req.Context())
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			again.Body = body
		}
		if req.URL.Host == p.host {
			again.Header.Set("Authorization", "Bearer "+p.token)
		}
		res, err := p.base.RoundTrip(again)
		wait, repeat := p.wait(req, res, err, try)
		if !repeat {
			return res, err
		}
		if res != nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
			_ = res.Body.Close()
		}
		if err := pause(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// CloseIdleConnections is what http.Client asks of its transport.
func (p *patient) CloseIdleConnections() { p.base.CloseIdleConnections() }

// wait says how long to wait before a call is repeated, and whether it is.
func (p *patient) wait(req *http.Request, res *http.Response, err error, try int) (time.Duration, bool) {
	backoff := p.retry << (try - 1)
	backoff = backoff/2 + rand.N(backoff) // #nosec G404 -- not to come all at once, no secret
	switch {
	case req.Context().Err() != nil || try >= mostTries:
		return 0, false
	case err == nil && res.StatusCode == http.StatusTooManyRequests:
		asked := retryAfter(res.Header)
		return asked + backoff, asked <= mostPatience
	case req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/v2/droplets"):
		return 0, false
	}
	return backoff, err != nil || res.StatusCode >= http.StatusInternalServerError
}

// retryAfter reads for how long a server wants to be left alone.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(0, seconds)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	if reset, err := strconv.ParseInt(h.Get("RateLimit-Reset"), 10, 64); err == nil {
		return max(0, time.Until(time.Unix(reset, 0)))
	}
	return 0
}

// explain turns the library's error into what the API said and what to do.
func explain(ctx context.Context, what string, err error) error {
	var refused *godo.ErrorResponse
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s at DigitalOcean: %w", what, context.Cause(ctx))
	case !errors.As(err, &refused) || refused.Response == nil:
		var call *url.Error
		if errors.As(err, &call) {
			err = call.Err
		}
		return fmt.Errorf("%s at DigitalOcean: no answer: %w", what, err)
	}
	code := refused.Response.StatusCode
	words := strings.TrimSpace(refused.Message)
	if words == "" {
		words = strings.ToLower(http.StatusText(code))
	}
	advice := ""
	switch {
	case code == http.StatusUnauthorized:
		advice = ": the token is wrong or has expired, put a good one into DIGITALOCEAN_ACCESS_TOKEN"
	case code == http.StatusForbidden:
		advice = ": the token needs to read and write droplets, tags and SSH keys"
	case code == http.StatusTooManyRequests:
		advice = ": try again later"
	case code >= http.StatusInternalServerError:
		advice = ": try again, https://status.digitalocean.com tells whether they know"
	case strings.Contains(words, "limit"):
		advice = ": remove droplets, or ask DigitalOcean for a higher limit"
	}
	return fmt.Errorf("%s at DigitalOcean: %s (%d)%s", what, words, code, advice)
}

// status is the HTTP status that an error carries, or 0 where no answer came.
func status(err error) int {
	var refused *godo.ErrorResponse
	if errors.As(err, &refused) && refused.Response != nil {
		return refused.Response.StatusCode
	}
	return 0
}

// ambiguous says whether a call that failed may have been carried out.
func ambiguous(err error) bool {
	code := status(err)
	return code == 0 || code >= http.StatusInternalServerError
}
