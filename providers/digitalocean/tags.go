package digitalocean

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"skep/providers"
)

// Tags hold letters, digits, colons, dashes and underscores, 255 in all.
const (
	tagPrefix = "skep:"
	longest   = 255
)

func envTag(env string) string { return tagPrefix + env }

func roleTag(env string, role providers.Role) string { return envTag(env) + ":" + string(role) }

// readTag parts a tag of skep into its environment and what follows.
func readTag(tag string) (env, rest string) {
	ours, is := strings.CutPrefix(tag, tagPrefix)
	if !is {
		return "", ""
	}
	env, rest, _ = strings.Cut(ours, ":")
	return env, rest
}

// batchTag writes the names of all machines that are asked for together in
// short: skep:tst:m1:w1-7_9 is tst-manager-1, tst-worker-1 to 7 and 9. What does
// not fit is left out: the batch is then finished without it.
func batchTag(env string, names []string) string {
	tag := envTag(env)
	for _, role := range []providers.Role{providers.Manager, providers.Worker} {
		sep := ":" + string(role[0])
		for _, r := range ranges(numbers(env, role, names)) {
			part := sep + r
			if len(tag)+len(part) > longest {
				break
			}
			tag += part
			sep = "_"
		}
	}
	return tag
}

func numbers(env string, role providers.Role, names []string) []int {
	var all []int
	for _, name := range names {
		if n := (providers.Machine{Env: env, Name: name, Role: role}).Number(); n > 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ranges writes sorted numbers as 1-7 and 9.
func ranges(all []int) []string {
	var written []string
	for i := 0; i < len(all); {
		end := i
		for end+1 < len(all) && all[end+1] == all[end]+1 {
			end++
		}
		if end > i {
			written = append(written, fmt.Sprintf("%d-%d", all[i], all[end]))
		} else {
			written = append(written, strconv.Itoa(all[i]))
		}
		i = end + 1
	}
	return written
}

// mostInRange keeps a tag that somebody wrote by hand from naming millions.
const mostInRange = 1000

// readBatch reads what batchTag wrote after the environment.
func readBatch(env, rest string) []string {
	var names []string
	for part := range strings.SplitSeq(rest, ":") {
		if len(part) < 2 {
			continue
		}
		role := providers.Manager
		if part[0] == providers.Worker[0] {
			role = providers.Worker
		}
		for r := range strings.SplitSeq(part[1:], "_") {
			from, to, isRange := strings.Cut(r, "-")
			first, err := strconv.Atoi(from)
			last := first
			if err == nil && isRange {
				last, err = strconv.Atoi(to)
			}
			if err != nil || last-first > mostInRange {
				continue
			}
			for n := first; n <= last; n++ {
				names = append(names, fmt.Sprintf("%s-%s-%d", env, role, n))
			}
		}
	}
	return names
}
