package services

import (
	"regexp"
	"strconv"
)

var version = regexp.MustCompile(`^(.*?)(?:-(\d+))?$`)

// latest is the newest version of a name: NAME, NAME-2, NAME-3, …; "" is none.
func latest(names []string, name string) string {
	newest, at := "", 0
	for _, n := range names {
		m := version.FindStringSubmatch(n)
		if m[1] != name {
			continue
		}
		v, err := strconv.Atoi(m[2])
		if err != nil {
			v = 1
		}
		if v > at {
			newest, at = n, v
		}
	}
	return newest
}

// next is the version after the latest.
func next(names []string, name string) string {
	newest := latest(names, name)
	if newest == "" {
		return name
	}
	v, err := strconv.Atoi(version.FindStringSubmatch(newest)[2])
	if err != nil {
		v = 1
	}
	return name + "-" + strconv.Itoa(v+1)
}
