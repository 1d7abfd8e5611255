package discovery

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// bounds of the buckets of request times, in seconds.
func bounds() []float64 { return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1} }

// metrics are kept in the text format of Prometheus by hand: its client would
// bring ten modules for four numbers.
type metrics struct {
	mu       sync.Mutex
	requests map[answered]int64
	times    []int64 // by bucket, each without those below it
	seconds  float64
	limited  int64
}

type answered struct {
	method string
	code   int
}

func newMetrics() *metrics {
	return &metrics{requests: map[answered]int64{}, times: make([]int64, len(bounds())+1)}
}

func (m *metrics) count(method string, code int, took time.Duration, limited bool) {
	if !slices.Contains([]string{"GET", "POST", "DELETE"}, method) {
		method = "other" // clients do not make up labels
	}
	bucket, _ := slices.BinarySearch(bounds(), took.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[answered{method, code}]++
	m.times[bucket]++
	m.seconds += took.Seconds()
	if limited {
		m.limited++
	}
}

func (m *metrics) write(w io.Writer, ids int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	line("# HELP skep_discovery_ids Ids that there are.\n# TYPE skep_discovery_ids gauge")
	line("skep_discovery_ids %d", ids)
	line("# HELP skep_discovery_limited_total Requests refused for their rate.\n# TYPE skep_discovery_limited_total counter")
	line("skep_discovery_limited_total %d", m.limited)
	line("# HELP skep_discovery_requests_total Requests by method and answer.\n# TYPE skep_discovery_requests_total counter")
	keys := slices.SortedFunc(maps.Keys(m.requests), func(a, b answered) int {
		return cmp.Or(cmp.Compare(a.method, b.method), cmp.Compare(a.code, b.code))
	})
	for _, k := range keys {
		line("skep_discovery_requests_total{method=%q,code=\"%d\"} %d", k.method, k.code, m.requests[k])
	}
	line("# HELP skep_discovery_request_seconds How long requests took.\n# TYPE skep_discovery_request_seconds histogram")
	var sum int64
	for i, n := range m.times {
		sum += n
		upTo := "+Inf"
		if i < len(bounds()) {
			upTo = strconv.FormatFloat(bounds()[i], 'g', -1, 64)
		}
		line("skep_discovery_request_seconds_bucket{le=%q} %d", upTo, sum)
	}
	line("skep_discovery_request_seconds_sum %g\nskep_discovery_request_seconds_count %d", m.seconds, sum)
}
