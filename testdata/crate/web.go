package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// serve answers on port 4200 as the real server does, of SQL two statements.
func (n *node) serve() error {
	http.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, ready := n.state()
		code := http.StatusOK
		if !ready {
			code = http.StatusServiceUnavailable
		}
		reply(w, code, map[string]any{"ok": ready, "status": code, "name": n.settings["node.name"], "cluster_name": n.settings["cluster.name"], "stand-in": true})
	})
	http.HandleFunc("/_sql", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Stmt string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			fail(w, http.StatusBadRequest, "SQLParseException: "+err.Error())
			return
		}
		alive, ready := n.state()
		if !ready {
			fail(w, http.StatusServiceUnavailable, "ClusterBlockException: state not recovered / no master")
			return
		}
		rows := [][]string{}
		switch asked.Stmt {
		case "SELECT name FROM sys.nodes":
			for _, name := range alive {
				rows = append(rows, []string{name})
			}
		case "SELECT health FROM sys.health":
			// One table, with a copy of it on every node.
			health := "GREEN"
			if strconv.Itoa(len(alive)) != n.settings["gateway.expected_data_nodes"] {
				health = "YELLOW"
			}
			rows = append(rows, []string{health})
		default:
			fail(w, http.StatusBadRequest, fmt.Sprintf("this stand-in does not answer %q", asked.Stmt))
			return
		}
		reply(w, http.StatusOK, map[string]any{"cols": []string{"x"}, "rows": rows, "rowcount": len(rows)})
	})
	return http.ListenAndServe(n.settings["network.host"]+":"+n.settings["http.port"], nil)
}

func (n *node) state() (alive []string, ready bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	alive = n.alive()
	return alive, n.recovered && n.led(alive)
}

func fail(w http.ResponseWriter, code int, message string) {
	reply(w, code, map[string]any{"error": map[string]any{"message": message, "code": code * 10}})
}

func reply(w http.ResponseWriter, code int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(what); err != nil {
		fmt.Println(err)
	}
}
