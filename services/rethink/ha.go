package rethink

import (
	"cmp"
	"slices"
)

// mostReplicas is how many a table is given: with three, one can be lost and a
// majority is left.
const mostReplicas = 3

// Place is a server and where its machine is.
type Place struct {
	Server, Node, Region string
}

// Move is the new placement of a table's shards.
type Move struct {
	Table    string  `json:"table"` // DB.TABLE
	ID       string  `json:"-"`
	From, To []Shard `json:"-"`
}

// Plan places tables so that the loss of a node, or of a region where there are
// several, loses no data: each shard has min(3, servers) replicas in as many
// regions, then on as many nodes as can be. What is well placed stays; a table
// with more replicas than that keeps them.
func Plan(places []Place, tables []Table) []Move {
	load := map[string]int{} // replicas by server, which are spread evenly
	for _, t := range tables {
		for _, s := range t.Shards {
			for _, name := range s.Replicas {
				load[name]++
			}
		}
	}
	var moves []Move
	for _, t := range tables {
		move := Move{Table: t.FullName(), ID: t.ID, From: t.Shards}
		changed := false
		for _, s := range t.Shards {
			next := placeShard(places, load, s)
			changed = changed || !slices.Equal(next.Replicas, s.Replicas) || next.Primary != s.Primary
			move.To = append(move.To, next)
		}
		if changed {
			moves = append(moves, move)
		}
	}
	return moves
}

// placeShard chooses the voting replicas of a shard: those that it has as far as
// they are good, and the best of the others. Replicas without a vote stay.
func placeShard(places []Place, load map[string]int, s Shard) Shard {
	voting := without(s.Replicas, s.Nonvoting)
	has := func(p Place) bool { return slices.Contains(voting, p.Server) }
	free := slices.DeleteFunc(slices.Clone(places), func(p Place) bool { return slices.Contains(s.Nonvoting, p.Server) })
	want := min(len(free), max(mostReplicas, len(voting)))
	var chosen []Place
	for len(chosen) < want {
		chosen = append(chosen, slices.MinFunc(without(free, chosen), func(a, b Place) int {
			return cmp.Or(
				cmp.Compare(count(chosen, a, region), count(chosen, b, region)),
				cmp.Compare(count(chosen, a, node), count(chosen, b, node)),
				first(a.Server == s.Primary, b.Server == s.Primary),
				first(has(a), has(b)),
				cmp.Compare(load[a.Server], load[b.Server]),
				cmp.Compare(a.Server, b.Server),
			)
		}))
	}
	var names []string
	for _, p := range chosen {
		names = append(names, p.Server)
		if !has(p) {
			load[p.Server]++
		}
	}
	next := Shard{Primary: s.Primary, Nonvoting: s.Nonvoting}
	if !slices.Contains(names, s.Primary) && len(names) > 0 {
		next.Primary = names[0]
	}
	slices.Sort(names)
	if next.Replicas = append(names, s.Nonvoting...); sameSet(next.Replicas, s.Replicas) {
		next.Replicas = s.Replicas
	}
	return next
}

func region(p Place) string { return p.Region }
func node(p Place) string   { return p.Region + "/" + p.Node }

// count is how many of the places share a property with p.
func count(places []Place, p Place, of func(Place) string) int {
	n := 0
	for _, o := range places {
		if of(o) == of(p) {
			n++
		}
	}
	return n
}

func without[T comparable](all, some []T) []T {
	return slices.DeleteFunc(slices.Clone(all), func(v T) bool { return slices.Contains(some, v) })
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && len(without(a, b)) == 0
}

// first puts what holds before what does not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// Leave places tables without the servers that go. Tables that would lose the
// last replica of a shard are returned as stuck.
func Leave(tables []Table, going func(server string) bool) (moves []Move, stuck []string) {
	for _, t := range tables {
		move := Move{Table: t.FullName(), ID: t.ID, From: t.Shards}
		changed, lost := false, len(t.Shards) == 0 // one whose configuration cannot be read
		for _, s := range t.Shards {
			next := Shard{
				Primary:   s.Primary,
				Replicas:  slices.DeleteFunc(slices.Clone(s.Replicas), going),
				Nonvoting: slices.DeleteFunc(slices.Clone(s.Nonvoting), going),
			}
			voting := without(next.Replicas, next.Nonvoting)
			lost = lost || len(voting) == 0
			if going(s.Primary) && len(voting) > 0 {
				next.Primary = voting[0]
			}
			changed = changed || len(next.Replicas) < len(s.Replicas)
			move.To = append(move.To, next)
		}
		switch {
		case lost:
			stuck = append(stuck, move.Table)
		case changed:
			moves = append(moves, move)
		}
	}
	return moves, stuck
}
