package mcp

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// script is a server of which the test holds the other end.
type script struct {
	t   *testing.T
	in  *bufio.Reader
	out *io.PipeWriter
	raw *io.PipeReader
}

// scripted makes servers and hands their other ends to the test, in turn.
func scripted(t *testing.T) (Open, chan script) {
	t.Helper()
	made := make(chan script, 20)
	return func(context.Context) (io.ReadWriteCloser, error) {
		ours, in, out := joined()
		made <- script{t, bufio.NewReader(in), out, in}
		return ours, nil
	}, made
}

func (s script) gets(want string) {
	s.t.Helper()
	got, err := s.in.ReadString('\n')
	if err != nil || got != want+"\n" {
		s.t.Fatalf("the server gets %q, %v, want %s", got, err, want)
	}
}

func (s script) says(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.out, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// agent is a client of raw HTTP.
type agent struct {
	t *testing.T
	c *http.Client
}

func (a agent) do(method, body string, header ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(a.t.Context(), method, "http://files.mcp/mcp", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		switch {
		case header[i] == "Host":
			r.Host = header[i+1]
		case header[i] == "Path":
			r.URL.Path = header[i+1]
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	return a.c.Do(r)
}

// says posts and returns the status and the body.
func (a agent) says(body string, header ...string) (int, string) {
	a.t.Helper()
	r, err := a.do(http.MethodPost, body, header...)
	if err != nil {
		a.t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return r.StatusCode, strings.TrimSuffix(string(raw), "\n")
}

// reply is what came back on another goroutine.
type reply struct {
	status int
	body   string
	header http.Header
	err    error
}

func (a agent) asks(body string, header ...string) <-chan reply {
	c := make(chan reply, 1)
	go func() {
		r, err := a.do(http.MethodPost, body, header...)
		if err != nil {
			c <- reply{err: err}
			return
		}
		defer r.Body.Close()
		raw, err := io.ReadAll(r.Body)
		c <- reply{r.StatusCode, strings.TrimSuffix(string(raw), "\n"), r.Header, err}
	}()
	return c
}

const (
	initialize  = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`
	initialized = `{"jsonrpc":"2.0","id":0,"result":{}}`
	list        = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	listed      = `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}`
	eventStream = "text/event-stream"
)

// begins starts a session.
func (a agent) begins(servers chan script) (string, script) {
	a.t.Helper()
	c := a.asks(initialize)
	s := <-servers
	s.gets(initialize)
	s.says(initialized)
	r := <-c
	if r.err != nil || r.status != 200 || r.body != initialized || len(r.header.Get(sessionHeader)) != 32 {
		a.t.Fatalf("initialize: %+v", r)
	}
	return r.header.Get(sessionHeader), s
}
