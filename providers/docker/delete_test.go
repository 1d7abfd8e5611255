package docker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"skep/providers"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
)

// gone is what the engine says of what it does not have.
func gone() http.HandlerFunc { return refuse(http.StatusNotFound, "No such container") }

func TestDeleteReturnsOnceTheEngineSaysThatTheNodeIsGone(t *testing.T) {
	d, e := startEngine(t, map[string]http.HandlerFunc{
		"DELETE /containers/dev-worker-1": inTurn(
			refuse(http.StatusConflict, "removal of container dev-worker-1 is already in progress"),
			accept(http.StatusNoContent),
			gone(),
		),
		"DELETE /volumes/skep-dev-worker-1": gone(),
	})
	if err := d.Delete(t.Context(), []providers.Machine{{Name: "dev-worker-1"}}); err != nil {
		t.Error(err)
	}
	if n := e.count("DELETE /containers/dev-worker-1"); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

func TestDeleteOfOneThatCannotBeRemovedStillRemovesTheOthers(t *testing.T) {
	d, e := startEngine(t, map[string]http.HandlerFunc{
		"DELETE /containers/dev-worker-1":   refuse(http.StatusInternalServerError, "device or resource busy\nmore"),
		"DELETE /containers/dev-worker-2":   gone(),
		"DELETE /volumes/skep-dev-worker-2": accept(http.StatusNoContent),
	})
	err := d.Delete(t.Context(), []providers.Machine{{Name: "dev-worker-1"}, {Name: "dev-worker-2"}})
	oneLine(t, err, "remove dev-worker-1", "device or resource busy")
	if e.count("DELETE /volumes/skep-dev-worker-2") != 1 {
		t.Error("the other one's volume is still there")
	}
}

func TestDeleteEndsWithItsContext(t *testing.T) {
	why := errors.New("stopped by interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	d, _ := startEngine(t, map[string]http.HandlerFunc{
		"DELETE /containers/dev-worker-1": func(w http.ResponseWriter, r *http.Request) {
			refuse(http.StatusConflict, "removal is already in progress")(w, r)
			cancel(why)
		},
	})
	err := d.Delete(ctx, []providers.Machine{{Name: "dev-worker-1"}})
	oneLine(t, err, "dev-worker-1", why.Error())
}

// estate is what an engine has of an environment: a list a call, the last stays.
type estate struct {
	containers, probes [][]container.Summary
	volumes            []string
	networks           []string
}

func lists[T any](all [][]T) http.HandlerFunc {
	handlers := []http.HandlerFunc{}
	for _, l := range all {
		handlers = append(handlers, answer(append([]T{}, l...)))
	}
	return inTurn(append(handlers, answer([]T{}))...)
}

// handlers play the listings; what is removed is not listed any more.
func (s estate) handlers() map[string]http.HandlerFunc {
	nodes, probes := lists(s.containers), lists(s.probes)
	var volumes []*volume.Volume
	for _, v := range s.volumes {
		volumes = append(volumes, &volume.Volume{Name: v})
	}
	var networks []network.Summary
	for _, n := range s.networks {
		networks = append(networks, network.Summary{ID: n})
	}
	return map[string]http.HandlerFunc{
		"GET /containers/json": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("filters") == `{"label":{"skep.probe=dev":true}}` {
				probes(w, r)
				return
			}
			nodes(w, r)
		},
		"GET /volumes":                       inTurn(answer(volume.ListResponse{Volumes: volumes}), answer(volume.ListResponse{})),
		"GET /networks":                      inTurn(answer(append([]network.Summary{}, networks...)), answer([]network.Summary{})),
		"DELETE /containers/id-dev-worker-1": gone(),
		"DELETE /containers/id-probe":        gone(),
		"DELETE /volumes/skep-dev-worker-1":  accept(http.StatusNoContent),
		"DELETE /networks/net":               accept(http.StatusNoContent),
	}
}

func TestPurgeRemovesAllThatCarriesTheLabel(t *testing.T) {
	d, e := startEngine(t, estate{
		containers: [][]container.Summary{{node("dev-worker-1", "10.201.7.2")}},
		volumes:    []string{"skep-dev-worker-1"}, networks: []string{"net"},
	}.handlers())
	if err := d.Purge(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"DELETE /containers/id-dev-worker-1", "DELETE /volumes/skep-dev-worker-1", "DELETE /networks/net"} {
		if e.count(call) != 1 {
			t.Errorf("%s: %d times", call, e.count(call))
		}
	}
}

func TestPurgeOfNothing(t *testing.T) {
	t.Parallel() // it waits for seconds
	d, _ := startEngine(t, estate{}.handlers())
	if err := d.Purge(t.Context(), "dev"); err != nil {
		t.Error(err)
	}
}

// The engine carries out the last order of a create that was killed, a moment
// after the first look.
func TestPurgeFindsWhatAKilledCreateStillMakes(t *testing.T) {
	t.Parallel() // it waits for seconds
	half := node("dev-worker-1", "10.201.7.2", func(c *container.Summary) { c.Labels[labelBatch] = "dev-worker-1,dev-worker-2" })
	late := node("dev-worker-2", "10.201.7.3")
	handlers := estate{}.handlers()
	var first time.Time
	made := false
	handlers["GET /containers/json"] = func(w http.ResponseWriter, r *http.Request) {
		found := []container.Summary{}
		switch {
		case strings.Contains(r.URL.RawQuery, "probe"):
		case first.IsZero():
			first, found = time.Now(), append(found, half)
		case !made && time.Since(first) > lastOrder*3/2: // the second look found nothing
			made, found = true, append(found, late)
		}
		answer(found)(w, r)
	}
	handlers["DELETE /containers/id-dev-worker-2"] = gone()
	d, e := startEngine(t, handlers)
	if err := d.Purge(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	if e.count("DELETE /containers/id-dev-worker-2") != 1 {
		t.Error("what came late is still there")
	}
}

func TestPurgeTellsWhatIsLeft(t *testing.T) {
	stuck := node("dev-worker-1", "10.201.7.2")
	d, _ := startEngine(t, estate{containers: [][]container.Summary{{stuck}, {stuck}, {stuck}}}.handlers())
	oneLine(t, d.Purge(t.Context(), "dev"), "still on the local engine", "container id-dev-worker-1")
}

func TestPurgeTellsWhatCannotBeRemoved(t *testing.T) {
	handlers := estate{volumes: []string{"skep-dev-worker-1"}, networks: []string{"net"}}.handlers()
	handlers["DELETE /volumes/skep-dev-worker-1"] = refuse(http.StatusConflict, "volume is in use")
	handlers["DELETE /networks/net"] = refuse(http.StatusForbidden, "network has active endpoints")
	d, _ := startEngine(t, handlers)
	err := d.Purge(t.Context(), "dev")
	for _, words := range []string{"skep-dev-worker-1", "volume is in use", "has active endpoints"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
}

func TestPurgeSaysWhenItCannotLook(t *testing.T) {
	for _, call := range []string{"GET /containers/json", "GET /volumes", "GET /networks"} {
		handlers := estate{}.handlers()
		handlers[call] = refuse(http.StatusInternalServerError, "database is locked")
		d, _ := startEngine(t, handlers)
		oneLine(t, d.Purge(t.Context(), "dev"), "database is locked")
	}
}
