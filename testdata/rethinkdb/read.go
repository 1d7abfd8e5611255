package main

import (
	"context"
	"encoding/json"
)

// scanRequest asks for documents: those under some keys, or a range of keys, a part at a time.
type scanRequest struct {
	Table     string
	Keys      []string
	From      string // the first key
	After     bool   // From itself is not wanted
	To        string // the first key that is not wanted any more; "" for none
	ToClosed  bool   // To is wanted
	CountOnly bool
	Mode      readMode
}

type scanAnswer struct {
	Keys  []string
	JSON  [][]byte
	Count int
	Last  string // where to go on after; "" at the end
}

// readMode is the optional argument read_mode of table.
type readMode string

const (
	single   readMode = "single"
	majority readMode = "majority"
	outdated readMode = "outdated"
)

const (
	scannedAtOnce = 1 << 20 // bytes
	scannedCount  = 5000
)

// scan reads what this server has. A leader's is the newest, unless another leads by now, of which majority makes sure.
func (g *group) scan(ctx context.Context, r *scanRequest) (*scanAnswer, error) {
	g.mu.Lock()
	leading := g.leading > 0
	g.mu.Unlock()
	if r.Mode != outdated && !leading {
		return nil, errNotLeader
	}
	answer := g.store.scan(r)
	if r.Mode == majority {
		return answer, g.confirm(ctx)
	}
	return answer, nil
}

func (s *store) scan(r *scanRequest) *scanAnswer {
	a := &scanAnswer{}
	if r.Keys != nil {
		for _, key := range r.Keys {
			if d, ok := s.document(r.Table, key); ok && len(d.JSON) > 0 {
				a.Keys, a.JSON = append(a.Keys, key), append(a.JSON, d.JSON)
			}
		}
		a.Count = len(a.Keys)
		return a
	}
	size := 0
	s.documents(r.Table, r.From, func(d document) bool {
		switch {
		case r.After && d.Key == r.From:
			return true
		case r.To != "" && (d.Key > r.To || d.Key == r.To && !r.ToClosed):
			return false
		}
		a.Count++
		if r.CountOnly {
			return true
		}
		if size > scannedAtOnce || len(a.Keys) == scannedCount {
			a.Last = a.Keys[len(a.Keys)-1]
			return false
		}
		size += len(d.JSON)
		a.Keys, a.JSON = append(a.Keys, d.Key), append(a.JSON, d.JSON)
		return true
	})
	return a
}

// decode makes a document a value. It was stored by this program.
func decode(text []byte) any {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return nil
	}
	return value
}
