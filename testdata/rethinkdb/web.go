package main

import (
	"context"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"
)

// page is what the admin UI shows: this server and those it is connected to, and what is wrong with the cluster.
type page struct {
	Version string
	Servers []identity
	Issues  []string
}

const pageText = `<!DOCTYPE html>
<html>
<head><meta charset="utf-8"><title>RethinkDB Administration Console</title></head>
<body>
<h1>{{.Version}}</h1>
<h2>Servers connected: {{len .Servers}}</h2>
<ul id="servers">
{{- range .Servers}}
<li class="server">{{.Name}} {{.ServerID}}</li>
{{- end}}
</ul>
{{- if .Issues}}
<h2>Issues: {{len .Issues}}</h2>
<ul id="issues">
{{- range .Issues}}
<li class="issue">{{.}}</li>
{{- end}}
</ul>
{{- end}}
</body>
</html>
`

func (m *mesh) page() page {
	p := page{Version: version, Servers: []identity{m.store.identity()}}
	for _, l := range m.connected() {
		p.Servers = append(p.Servers, identity{ServerID: l.peer.ServerID, Name: l.peer.Name})
	}
	for _, name := range collisions(m.store.names(kindDatabase)) {
		p.Issues = append(p.Issues, fmt.Sprintf("db_name_collision: ambiguous database name %q", name))
	}
	names := map[string]string{}
	for _, server := range p.Servers {
		names[server.ServerID] = server.Name
	}
	for _, name := range collisions(names) {
		p.Issues = append(p.Issues, fmt.Sprintf("server_name_collision: ambiguous server name %q", name))
	}
	return p
}

func serveWeb(ctx context.Context, listeners []net.Listener, m *mesh) {
	layout := template.Must(template.New("page").Parse(pageText))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := layout.Execute(w, m.page()); err != nil {
			m.log.Printf("error: admin page: %v", err)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	for _, listener := range listeners {
		go func() { _ = server.Serve(listener) }() // returns when the server is closed
	}
}
