package nodes

import (
	"strings"
	"testing"
)

// A create that was killed early may have left workers alone.
func TestWorkersAloneHaveNoManagerToAsk(t *testing.T) {
	d := &fake{machines: parseMachines("w1 w2?")}
	e, told := environment(t, d)
	_, err := e.Manager(t.Context())
	if err == nil || !strings.Contains(err.Error(), "dev has no manager: `skep nodes create dev`") {
		t.Errorf("error %v", err)
	}
	if err := e.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "dev has no manager") {
		t.Errorf("error %v", err)
	}
	d.has(t)
	found, err := e.List(t.Context())
	if err != nil || len(found) != 2 || strings.Contains(told.String(), "%!") {
		t.Errorf("%+v, %v, told %q", found, err, told)
	}
}
