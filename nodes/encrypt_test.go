package nodes

import (
	"strings"
	"testing"

	"skep/probe"
	"skep/swarm"

	api "github.com/docker/docker/api/types/swarm"
)

func TestEncrypts(t *testing.T) {
	yes, no := true, false
	member := func(labels map[string]string) []api.Node {
		n := api.Node{}
		n.Spec.Labels = labels
		return []api.Node{n}
	}
	plain := member(map[string]string{swarm.LabelDriver: "ssh"})
	encrypted := member(map[string]string{swarm.LabelDriver: "ssh", swarm.LabelEncrypt: "true"})
	begun := member(map[string]string{swarm.LabelEncrypt: "true"}) // and killed before it was finished
	for name, c := range map[string]struct {
		members []api.Node
		asked   *bool
		remote  bool
		want    encryption
		words   string
	}{
		"new, elsewhere":             {nil, nil, true, encryption{wanted: true}, ""},
		"new, on this computer":      {nil, nil, false, encryption{}, ""},
		"new, asked for":             {nil, &yes, false, encryption{needed: true}, ""},
		"new, asked not to":          {nil, &no, true, encryption{}, ""},
		"begun":                      {begun, nil, true, encryption{wanted: true}, ""},
		"a plain one grows":          {plain, nil, true, encryption{}, ""},
		"and is asked not to":        {plain, &no, true, encryption{}, ""},
		"a plain one to change":      {plain, &yes, true, encryption{}, "are not encrypted"},
		"an encrypted one grows":     {encrypted, nil, true, encryption{needed: true}, ""},
		"and is asked for":           {encrypted, &yes, true, encryption{needed: true}, ""},
		"an encrypted one to change": {encrypted, &no, true, encryption{}, "are encrypted already"},
	} {
		got, err := encrypts("prd", c.members, c.asked, c.remote)
		if got != c.want || (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestEncryptedOnlyWhereAllCan(t *testing.T) {
	e, log := environment(t, &fake{})
	for _, c := range []struct {
		of    encryption
		lacks []string
		want  bool
		words string
	}{
		{encryption{}, nil, false, ""},
		{encryption{needed: true}, nil, true, ""},
		{encryption{wanted: true}, nil, true, ""},
		{encryption{wanted: true}, []string{"prd-worker-2", "prd-worker-1"}, false, "in the kernel of prd-worker-1, prd-worker-2"},
	} {
		log.Reset()
		f := &forming{env: e, encryption: c.of, lacks: c.lacks}
		if got := f.encrypted(); got != c.want || !strings.Contains(log.String(), c.words) || c.words == "" && log.Len() > 0 {
			t.Errorf("%+v: %v, told %q", c, got, log.String())
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		r         probe.Result
		encrypted bool
		words     string
	}{
		{probe.Result{Small: true, Large: true}, true, ""},
		{probe.Result{Words: "no answer"}, false, "nothing gets from a container on a to one on b (no answer): open UDP 4789 and TCP and UDP 7946 between them"},
		{probe.Result{}, true, "and ESP (IP protocol 50)"},
		{probe.Result{Small: true}, false, "between containers on a and b small packets pass and large ones do not"},
	} {
		err := verdict("a", "b", c.r, c.encrypted)
		if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
}
