// Package mcp lets an agent reach a Model Context Protocol server that runs in
// a box of its own: an HTTP listener in the agent's network namespace
// (Streamable HTTP) on one side, the server's standard input and output
// (newline-delimited JSON-RPC 2.0) on the other. There is no shared network, file
// or socket between the two boxes.
//
// # What the agent sees
//
// Config is the file /run/ztlaunch/mcp.json, in the shape that MCP clients share:
//
//	{"mcpServers":{"files":{"type":"http","url":"http://files.mcp/mcp"}}}
//
// A server has one path, /mcp, and one host, NAME.mcp. Requests with another
// Host, or with an Origin other than that host, are refused (403).
//
// POST takes one JSON-RPC message. A notification or response is answered with
// 202. A request is answered with a text/event-stream as soon as it is passed
// on, or, to who accepts JSON only, with application/json when the answer is
// there. Batches are refused.
//
//   - Before protocol version 2026-07-28 a POST of initialize starts a session,
//     whose Mcp-Session-Id every later request must carry. GET opens the stream
//     for what the server says unasked, DELETE ends the session.
//   - From 2026-07-28 on there are no sessions. Mcp-Method and Mcp-Name, when
//     given, must equal the body's.
//
// A server speaks with one client in its life, as over standard input and output
// everywhere: each session has a server of its own, which is started with it
// and closed with it, and requests without a session share one. A server that
// only ever refused sessionless requests is given to the next session, so that a
// client that asks before it falls back costs no second server. There are at most
// four servers; for a fifth, the session that was idle longest ends, because a
// client that crashed never says DELETE, and when all have a stream or a request
// open it is refused (409).
//
// # Messages
//
// In both directions a message is one JSON object of at most 16 MiB, UTF-8,
// nested at most 128 deep, without a member twice at any depth. Its members are
// jsonrpc ("2.0") and: method, with or without params, with or without an id; or
// an id and either result or error; and no others. An id is text, or an integer
// of at most 15 digits. What is passed on is the same text without white space
// between its tokens; numbers, escapes and the order of members stay as they are.
//
// Ids stay as the agent wrote them, unless clients without a session chose the
// same one: then the server is given another, which is put back in the answer
// and in notifications/cancelled. Answers to what nobody asked are dropped or
// refused, from both sides. What the server asks or says unasked goes to the
// session's GET stream, else to an open request's stream, else, in a session, it
// waits for one; a question that finds no client is answered with an error.
//
// A server that writes anything but messages has failed, and its session with it
// (mcp-server-malformed): dropping the line would leave its asker waiting.
//
// # What this does not do
//
// It does not hold the server to a pinned surface, does not look into params and
// results, does not resume streams (Last-Event-ID), and does not check
// Mcp-Param-* headers, which need a tool's schema. The same bytes that were
// scanned here are what a filter would scan.
package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// Path is the path of every server.
	Path = "/mcp"
	// MaxMessage is the largest message in bytes.
	MaxMessage = 16 << 20

	maxServers = 4
	maxConns   = 128       // of the agent to one bridge
	maxHeaders = 64 << 10  // bytes
	bigMessage = 256 << 10 // larger ones are counted
	maxBig     = 4         // of them at once, in each direction
)

// Host is the host name under which an agent reaches the named server.
func Host(name string) string { return name + ".mcp" }

// Config is the list of servers that an agent is given.
func Config(names []string) []byte {
	type server struct {
		Type string `json:"type"`
		URL  string `json:"url"`
	}
	servers := make(map[string]server, len(names))
	for _, n := range names {
		servers[n] = server{"http", "http://" + Host(n) + Path}
	}
	raw, _ := json.Marshal(map[string]any{"mcpServers": servers}) // text encodes
	return append(raw, '\n')
}

// Open starts a server: what is written to it becomes its standard input, what is
// read from it is its standard output, and closing it ends it.
type Open func(ctx context.Context) (io.ReadWriteCloser, error)

// One is an Open for a server that is running already. A second session finds
// none.
func One(server io.ReadWriteCloser) Open {
	var used atomic.Bool
	return func(context.Context) (io.ReadWriteCloser, error) {
		if used.Swap(true) {
			return nil, errors.New("the only server is in use")
		}
		return server, nil
	}
}

// New bridges to the servers that open starts. The host is what requests must
// name. The bridge closes what it opened.
func New(host string, open Open) *Bridge {
	ctx, stop := context.WithCancel(context.Background())
	return &Bridge{
		host: host, open: open, ctx: ctx, stop: stop,
		bigIn: make(chan struct{}, maxBig), failed: make(chan error, 16),
	}
}

// Serve accepts connections of the agent until the bridge is closed, and then
// returns nil. It closes the listener.
func (b *Bridge) Serve(l net.Listener) error {
	s := &http.Server{
		Handler: b, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeaders,
		ErrorLog: log.New(io.Discard, "", 0), // net/http would log to the terminal otherwise
	}
	defer context.AfterFunc(b.ctx, func() { _ = s.Close() })()
	err := s.Serve(limit(l, maxConns))
	if b.ctx.Err() != nil {
		return nil
	}
	return err
}

// Close ends every server, stream and listener.
func (b *Bridge) Close() error {
	b.stop()
	b.mu.Lock()
	list := b.sessions
	b.sessions = nil
	b.mu.Unlock()
	for _, s := range list {
		s.fail()
	}
	return nil
}

// Failed yields the failures of servers: mcp-server-ended, mcp-server-malformed, or
// what Open returned. The agent is told that the server has ended, whatever it was.
// Up to 16 wait here; later ones are dropped.
func (b *Bridge) Failed() <-chan error { return b.failed }
