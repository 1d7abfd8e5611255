package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// rqlite reads a line over HTTP. It keeps no connection: each page asks DNS anew and so finds the servers that live now.
type rqlite struct{ url string }

// text is the first row of the table hello(text).
func (d *rqlite) text(ctx context.Context) (string, error) {
	if d.url == "" {
		return "", errors.New("neither RQLITE_URL nor RETHINKDB_ADDRESSES is set")
	}
	where, err := url.Parse(d.url)
	if err != nil {
		return "", fmt.Errorf("RQLITE_URL: %w", err)
	}
	where = where.JoinPath("db", "query")
	where.RawQuery = url.Values{"q": {"SELECT text FROM hello LIMIT 1"}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return "", err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if failed := new(url.Error); errors.As(err, &failed) {
		return "", failed.Err // without the long URL
	}
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", where.Host, response.Status)
	}
	return firstText(json.NewDecoder(response.Body))
}

// firstText reads an answer of https://rqlite.io/docs/api/api/#querying-data.
func firstText(body *json.Decoder) (string, error) {
	var answer struct {
		Error   string
		Results []struct {
			Values [][]string
			Error  string
		}
	}
	if err := body.Decode(&answer); err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	if answer.Error != "" {
		return "", errors.New(answer.Error)
	}
	if len(answer.Results) == 0 {
		return "", errors.New("the answer is empty")
	}
	result := answer.Results[0]
	if result.Error != "" {
		return "", errors.New(result.Error)
	}
	if len(result.Values) == 0 || len(result.Values[0]) == 0 {
		return "", errors.New("the table hello is empty")
	}
	return result.Values[0][0], nil
}
