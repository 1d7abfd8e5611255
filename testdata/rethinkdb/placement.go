package main

import (
	"fmt"
	"maps"
	"slices"
)

// place chooses servers for a table of so many shards and replicas, as table_create and reconfigure take them: a number,
// or one for each server tag. It prefers servers that have the table, and then those that have few.
func (m *mesh) place(now tableRecord, options map[string]any) ([]shard, error) {
	shards, err := positive(options, "shards", max(1, len(now.Shards)))
	if err != nil {
		return nil, err
	}
	byTag, primaryTag := map[string]int{}, "default"
	switch replicas := options["replicas"].(type) {
	case map[string]any:
		for tag := range replicas {
			n, err := positive(replicas, tag, 0)
			if err != nil {
				return nil, err
			}
			byTag[tag] = n
		}
		primaryTag, _ = options["primary_replica_tag"].(string)
		if byTag[primaryTag] == 0 {
			return nil, logicError("`primary_replica_tag` must be specified when `replicas` is an OBJECT, and name a tag with replicas.")
		}
	default:
		if byTag["default"], err = positive(options, "replicas", 1); err != nil {
			return nil, err
		}
		if _, ok := options["primary_replica_tag"]; ok {
			return nil, logicError("`primary_replica_tag` can only be used if `replicas` is an OBJECT.")
		}
	}
	load := m.load()
	all := make([]shard, shards)
	for i := range all {
		if all[i], err = m.placeShard(now, byTag, primaryTag, load); err != nil {
			return nil, err
		}
	}
	nonvoting, _ := options["nonvoting_replica_tags"].([]any)
	for i := range all {
		for _, id := range all[i].Replicas {
			for _, tag := range nonvoting {
				if name, _ := tag.(string); name != primaryTag && slices.Contains(m.store.server(id).Tags, name) {
					all[i].Nonvoting = unique(append(all[i].Nonvoting, id))
				}
			}
		}
	}
	return all, nil
}

func positive(options map[string]any, name string, fallback int) (int, error) {
	given, ok := options[name]
	if !ok {
		return fallback, nil
	}
	n, ok := given.(float64)
	if !ok || n < 0 || n == 0 && name == "shards" || n != float64(int(n)) {
		return 0, logicError("`%s` must be a positive whole number, not %s.", name, printed(given))
	}
	return int(n), nil
}

// load is how many shards each server has a copy of, and a little more for those it leads.
func (m *mesh) load() map[string]int {
	load := map[string]int{}
	for _, r := range m.store.records(kindTable) {
		t, _, _ := m.store.table(r.ID)
		for _, s := range t.Shards {
			load[s.Primary]++
			for _, id := range s.Replicas {
				load[id] += 2
			}
		}
	}
	return load
}

func (m *mesh) placeShard(now tableRecord, byTag map[string]int, primaryTag string, load map[string]int) (shard, error) {
	var s shard
	tags := slices.Sorted(maps.Keys(byTag))
	slices.SortStableFunc(tags, func(a, b string) int {
		switch primaryTag { // it chooses first
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	rank := func(id string) int {
		switch members := now.replicas(); {
		case len(members) > 0 && members[0] == id:
			return -2_000_000
		case slices.Contains(members, id):
			return -1_000_000 + load[id]
		}
		return load[id]
	}
	for _, tag := range tags {
		var fit []string
		for _, id := range m.up() {
			if slices.Contains(m.store.server(id).Tags, tag) && !slices.Contains(s.Replicas, id) {
				fit = append(fit, id)
			}
		}
		if len(fit) < byTag[tag] {
			return s, &queryError{opFailed, fmt.Sprintf("Can't put %d replicas on servers with the tag `%s` because there are only %d servers with the tag `%s`. "+
				"It's impossible to have more replicas of the data than there are servers.", byTag[tag], tag, len(fit), tag)}
		}
		slices.SortStableFunc(fit, func(a, b string) int { return rank(a) - rank(b) })
		s.Replicas = append(s.Replicas, fit[:byTag[tag]]...)
	}
	if len(s.Replicas) == 0 {
		return s, logicError("`replicas` must be at least 1.")
	}
	s.Primary = s.Replicas[0]
	for _, id := range s.Replicas {
		load[id] += 2
	}
	load[s.Primary]++
	return s, nil
}
