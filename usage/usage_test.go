package usage

import (
	"errors"
	"fmt"
	"testing"
)

func TestErrorIsFoundThroughWhatWrapsIt(t *testing.T) {
	err := Errorf("%d is not a port", 0)
	if err.Error() != "0 is not a port" {
		t.Errorf("it reads %q", err)
	}
	var wrong Error
	for name, wrapped := range map[string]error{
		"itself":  err,
		"wrapped": fmt.Errorf("deploy hello: %w", err),
		"joined":  errors.Join(errors.New("no route"), err),
	} {
		if !errors.As(wrapped, &wrong) {
			t.Errorf("%s: lost", name)
		}
	}
	if errors.As(errors.New("0 is not a port"), &wrong) {
		t.Error("any error is one")
	}
}
