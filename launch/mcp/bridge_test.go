package mcp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
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

// TestHTTP refuses what the package comment says, and passes nothing of it on.
func TestHTTP(t *testing.T) {
	open, servers := scripted(t)
	_, hc, _ := serve(t, open)
	a := agent{t, hc}
	id, s := a.begins(servers)
	for _, tc := range []struct {
		name, method, body string
		header             []string
		want               int
	}{
		{"host", "POST", list, []string{"Host", "evil.example"}, 403},
		{"host-port", "POST", list, []string{"Host", "files.mcp:8080"}, 403},
		{"host-of-another", "POST", list, []string{"Host", "web.mcp"}, 403},
		{"origin", "POST", list, []string{"Origin", "http://evil.example"}, 403},
		{"origin-null", "POST", list, []string{"Origin", "null"}, 403},
		{"origin-https", "POST", list, []string{"Origin", "https://files.mcp"}, 403},
		{"path", "POST", list, []string{"Path", "/"}, 404},
		{"path-below", "POST", list, []string{"Path", "/mcp/x"}, 404},
		{"version", "POST", list, []string{versionHeader, "latest"}, 400},
		{"put", "PUT", list, nil, 405},
		{"options", "OPTIONS", "", nil, 405},
		{"content-type", "POST", list, []string{"Content-Type", "text/plain"}, 415},
		{"content-type-none", "POST", list, []string{"Content-Type", ""}, 415},
		{"no-session", "POST", list, []string{sessionHeader, ""}, 400},
		{"other-session", "POST", list, []string{sessionHeader, strings.Repeat("0", 32)}, 404},
		{"initialize-in-other-session", "POST", initialize, []string{sessionHeader, "x"}, 404},
		{"batch", "POST", "[" + list + "]", nil, 400},
		{"no-json", "POST", "hello", nil, 400},
		{"twice", "POST", `{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}`, nil, 400},
		{"answer-to-nothing", "POST", listed, nil, 400},
		{"answer-without-id", "POST", `{"jsonrpc":"2.0","id":null,"error":{}}`, nil, 400},
		{"accept-nothing", "POST", list, []string{"Accept", "text/html"}, 406},
		{"mcp-method", "POST", list, []string{"Mcp-Method", "tools/call"}, 400},
		{"mcp-name", "POST", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`, []string{"Mcp-Name", "b"}, 400},
		{"mcp-name-none", "POST", list, []string{"Mcp-Name", "b"}, 400},
		{"get-accept", "GET", "", nil, 406},
		{"get-no-session", "GET", "", []string{sessionHeader, "", "Accept", eventStream}, 400},
		{"get-other-session", "GET", "", []string{sessionHeader, "x", "Accept", eventStream}, 404},
		{"get-new-protocol", "GET", "", []string{versionHeader, sessionless, "Accept", eventStream}, 405},
		{"delete-other-session", "DELETE", "", []string{sessionHeader, "x"}, 404},
		{"delete-new-protocol", "DELETE", "", []string{versionHeader, sessionless}, 405},
		{"sessionless-notification", "POST", `{"jsonrpc":"2.0","method":"m"}`, []string{sessionHeader, "", versionHeader, sessionless}, 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := agent{t, hc}.do(tc.method, tc.body, append([]string{sessionHeader, id}, tc.header...)...)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			var fault struct {
				Version string `json:"jsonrpc"`
				Error   struct {
					Message string
					Code    int
				}
			}
			if err := json.NewDecoder(r.Body).Decode(&fault); r.StatusCode != tc.want || err != nil || fault.Version != "2.0" || fault.Error.Message == "" || fault.Error.Code == 0 {
				t.Errorf("%d %+v %v, want %d", r.StatusCode, fault, err, tc.want)
			}
			if tc.want == 405 && r.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	// Nothing of this has reached the server: the next thing it gets is this.
	c := a.asks(list, sessionHeader, id, "Origin", "http://files.mcp", "Host", "files.mcp:80", "Content-Type", "application/json; charset=utf-8",
		"Mcp-Method", "tools/list", "Accept", "text/html, application/json;q=0.5", versionHeader, "2025-06-18")
	s.gets(list)
	s.says(listed)
	if r := <-c; r.status != 200 || r.body != listed || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("%+v", r)
	}
}

// TestTransparent: numbers, escapes and the order of members arrive as they
// were, white space does not.
func TestTransparent(t *testing.T) {
	open, servers := scripted(t)
	_, hc, _ := serve(t, open)
	a := agent{t, hc}
	id, s := a.begins(servers)
	c := a.asks("{\n \"params\": {\"z\": 1.50E+3, \"a\": \"\\u003c<\\/\\ud800\", \"n\": 12345678901234567890 },\r\n\t\"method\": \"x\", \"id\": \"\\u0061\", \"jsonrpc\": \"2.0\"}", sessionHeader, id)
	s.gets(`{"params":{"z":1.50E+3,"a":"\u003c<\/\ud800","n":12345678901234567890},"method":"x","id":"\u0061","jsonrpc":"2.0"}`)
	s.says(`{ "result": {"b": 1e2, "a": "\u0000" }, "jsonrpc":"2.0", "id": "a" }`)
	if r := <-c; r.body != `{"result":{"b":1e2,"a":"\u0000"},"jsonrpc":"2.0","id":"\u0061"}` {
		t.Errorf("%s", r.body)
	}
}

// TestStreams: what the server says unasked goes to a request's stream, waits,
// and goes to the GET stream; answers find their questions, in any order.
func TestStreams(t *testing.T) {
	open, servers := scripted(t)
	_, hc, _ := serve(t, open)
	a := agent{t, hc}
	id, s := a.begins(servers)
	s.says(`{"jsonrpc":"2.0","method":"early"}`) // waits: nobody listens
	one := a.asks(list, sessionHeader, id, "Accept", eventStream)
	s.gets(list)
	two := a.asks(strings.Replace(list, "1", "2", 1), sessionHeader, id, "Accept", "application/json, "+eventStream)
	s.gets(strings.Replace(list, "1", "2", 1))
	s.says(`{"jsonrpc":"2.0","method":"late"}`)
	s.says(`{"jsonrpc":"2.0","id":3,"result":"to nothing"}`)
	s.says(strings.Replace(listed, "1", "2", 1))
	s.says(listed)
	event := func(m string) string { return "event: message\ndata: " + m + "\n\n" }
	if r := <-one; r.body+"\n" != event(`{"jsonrpc":"2.0","method":"early"}`)+event(listed) {
		t.Errorf("one: %q", r.body)
	}
	if r := <-two; r.body+"\n" != event(`{"jsonrpc":"2.0","method":"late"}`)+event(strings.Replace(listed, "1", "2", 1)) || r.header.Get("Content-Type") != eventStream {
		t.Errorf("two: %q", r.body)
	}

	// What is said before an answer arrives before it, on the same stream.
	for range 100 {
		c := a.asks(list, sessionHeader, id, "Accept", eventStream)
		s.gets(list)
		s.says(`{"jsonrpc":"2.0","method":"first"}` + "\n" + listed)
		if r := <-c; r.body+"\n" != event(`{"jsonrpc":"2.0","method":"first"}`)+event(listed) {
			t.Fatalf("%q", r.body)
		}
	}

	// A GET stream has the server's questions; the answers go back once.
	get, err := a.do(http.MethodGet, "", sessionHeader, id, "Accept", eventStream)
	if err != nil {
		t.Fatal(err)
	}
	defer get.Body.Close()
	reader := bufio.NewReader(get.Body)
	next := func(want string) {
		t.Helper()
		for {
			line, err := reader.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				if data != want+"\n" {
					t.Fatalf("GET has %q, want %q", data, want)
				}
				return
			}
		}
	}
	const question, answer = `{"jsonrpc":"2.0","id":"q","method":"roots/list"}`, `{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}`
	s.says(question)
	next(question)
	if status, _ := a.says(answer, sessionHeader, id); status != 202 {
		t.Errorf("the answer: %d", status)
	}
	s.gets(answer)
	if status, _ := a.says(answer, sessionHeader, id); status != 400 {
		t.Errorf("the same answer again: %d", status)
	}

	// A second GET takes the place of the first.
	get2, err := a.do(http.MethodGet, "", sessionHeader, id, "Accept", eventStream)
	if err != nil {
		t.Fatal(err)
	}
	defer get2.Body.Close()
	if _, err := reader.ReadString('\n'); err == nil {
		if rest, err := io.ReadAll(reader); err != nil || strings.Contains(string(rest), "data") {
			t.Errorf("the first GET goes on: %q, %v", rest, err)
		}
	}
	reader = bufio.NewReader(get2.Body)
	s.says(question)
	next(question)

	// DELETE ends the session, its streams and its server.
	del, err := a.do(http.MethodDelete, "", sessionHeader, id)
	if err != nil {
		t.Fatal(err)
	}
	del.Body.Close()
	if del.StatusCode != 204 {
		t.Errorf("DELETE: %d", del.StatusCode)
	}
	if rest, err := io.ReadAll(reader); err != nil || strings.Contains(string(rest), "data") {
		t.Errorf("after DELETE: %q, %v", rest, err)
	}
	if _, err := s.in.ReadByte(); err == nil {
		t.Error("after DELETE the server's input is open")
	}
}

// TestCallOff: the call ends for the agent, and a late answer finds nobody.
func TestCallOff(t *testing.T) {
	open, servers := scripted(t)
	_, hc, _ := serve(t, open)
	a := agent{t, hc}
	id, s := a.begins(servers)
	for _, accept := range []string{eventStream, "application/json"} {
		c := a.asks(list, sessionHeader, id, "Accept", accept)
		s.gets(list)
		off := a.asks(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"r","requestId":1}}`, sessionHeader, id)
		s.gets(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"r","requestId":1}}`)
		if r := <-off; r.status != 202 {
			t.Errorf("%+v", r)
		}
		if r := <-c; r.err != nil || strings.Contains(r.body, "result") {
			t.Errorf("the call: %+v", r)
		}
		// Before the late answer the same id is not the server's again.
		c = a.asks(list, sessionHeader, id)
		s.gets(strings.Replace(list, `"id":1`, `"id":"zt-`+map[string]string{eventStream: "1", "application/json": "2"}[accept]+`"`, 1))
		s.says(strings.Replace(listed, `[]`, `["late"]`, 1))
		s.says(strings.Replace(listed, `"id":1`, `"id":"zt-`+map[string]string{eventStream: "1", "application/json": "2"}[accept]+`"`, 1))
		if r := <-c; r.body != listed {
			t.Errorf("after calling off: %+v", r)
		}
	}
	// The same id twice in a session is refused while it is open.
	c := a.asks(list, sessionHeader, id)
	s.gets(list)
	if status, body := a.says(list, sessionHeader, id); status != 400 || !strings.Contains(body, `"id":1`) {
		t.Errorf("the id twice: %d %s", status, body)
	}
	s.says(listed)
	<-c
}

// TestGone: a client that hangs up does not get another one's answer.
func TestGone(t *testing.T) {
	open, servers := scripted(t)
	_, hc, _ := serve(t, open)
	ctx, hangUp := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://files.mcp/mcp", strings.NewReader(list))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(versionHeader, sessionless)
	gone := make(chan error)
	go func() { _, err := hc.Do(r); gone <- err }()
	s := <-servers
	s.gets(list)
	// While it waits, another client without a session may use the same id.
	a := agent{t, hc}
	c := a.asks(list, versionHeader, sessionless)
	s.gets(strings.Replace(list, `"id":1`, `"id":"zt-1"`, 1))
	hangUp()
	if err := <-gone; err == nil {
		t.Error("it did not hang up")
	}
	s.says(strings.Replace(listed, `[]`, `["of the first"]`, 1))
	s.says(strings.Replace(listed, `"id":1`, `"id":"zt-1"`, 1))
	if r := <-c; r.body != listed {
		t.Errorf("%+v", r)
	}
}

// TestHangUp: whoever hangs up leaves nothing behind: what is said then goes to
// who comes next, late answers take no room, and the session is idle.
func TestHangUp(t *testing.T) {
	open, servers := scripted(t)
	b, hc, _ := serve(t, open)
	a := agent{t, hc}
	id, s := a.begins(servers)
	idle := func() {
		t.Helper()
		for b.sessions[0].busy() { // until the hanging up is noticed
			time.Sleep(time.Millisecond)
		}
	}
	for i, method := range []string{"GET", "POST", "GET"} {
		ctx, hangUp := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, method, "http://files.mcp/mcp", strings.NewReader(list))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {eventStream}, sessionHeader: {id}}
		open := make(chan *http.Response, 1)
		go func() {
			got, err := hc.Do(r)
			if err != nil {
				t.Error(err)
			}
			open <- got
		}()
		if method == "POST" {
			s.gets(list)
		}
		got := <-open
		hangUp()
		got.Body.Close()
		idle()
		said := fmt.Sprintf(`{"jsonrpc":"2.0","method":"said-%d"}`, i)
		s.says(said)
		c := a.asks(strings.Replace(list, "1", "2", 1), sessionHeader, id, "Accept", eventStream)
		s.gets(strings.Replace(list, "1", "2", 1))
		s.says(strings.Replace(listed, "1", "2", 1))
		if r := <-c; !strings.Contains(r.body, said) {
			t.Errorf("after %s: %q", method, r.body)
		}
		if method == "POST" {
			s.says(listed) // late
		}
	}
	for i := range 2 * maxBig {
		ctx, hangUp := context.WithCancel(t.Context())
		ask := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"m"}`, 10+i)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://files.mcp/mcp", strings.NewReader(ask))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, sessionHeader: {id}}
		gone := make(chan bool)
		go func() { hc.Do(r); close(gone) }()
		s.gets(ask)
		hangUp()
		<-gone
		idle()
		s.says(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":"%s"}`, 10+i, strings.Repeat("x", 2*bigMessage)))
	}
	c := a.asks(list, sessionHeader, id)
	s.gets(list)
	s.says(listed)
	if r := <-c; r.body != listed {
		t.Errorf("%+v", r)
	}
}

// TestSessions: four servers at once, the longest idle one gives way, busy ones do
// not.
func TestSessions(t *testing.T) {
	open, servers := scripted(t)
	_, hc, _ := serve(t, open)
	a := agent{t, hc}
	var ids []string
	var all []script
	for range maxServers {
		id, s := a.begins(servers)
		ids, all = append(ids, id), append(all, s)
	}
	c := a.asks(list, sessionHeader, ids[0]) // the first is used again: the second is the oldest now
	all[0].gets(list)
	all[0].says(listed)
	<-c
	fifth, s5 := a.begins(servers)
	if _, err := all[1].in.ReadByte(); err == nil {
		t.Error("the second server goes on")
	}
	for i, want := range map[int]int{0: 202, 1: 404, 2: 202, 3: 202} {
		got := a.asks(`{"jsonrpc":"2.0","method":"m"}`, sessionHeader, ids[i])
		if want == 202 {
			all[i].gets(`{"jsonrpc":"2.0","method":"m"}`)
		}
		if r := <-got; r.status != want {
			t.Errorf("session %d: %+v", i, r)
		}
	}
	ids[1], all[1] = fifth, s5
	var open4 []*http.Response
	for i := range maxServers {
		get, err := a.do(http.MethodGet, "", sessionHeader, ids[i], "Accept", eventStream)
		if err != nil {
			t.Fatal(err)
		}
		open4 = append(open4, get)
	}
	if status, body := a.says(initialize); status != 409 {
		t.Errorf("a fifth with all busy: %d %s", status, body)
	}
	for _, g := range open4 {
		g.Body.Close()
	}
}

// TestOne: the server that said no to a sessionless request serves the session
// that follows, one that said yes does not, and there is no second.
func TestOne(t *testing.T) {
	for _, proven := range []bool{false, true} {
		ours, in, out := joined()
		s := script{t, bufio.NewReader(in), out, in}
		b, hc, _ := serve(t, One(ours))
		a := agent{t, hc}
		const discover = `{"jsonrpc":"2.0","id":1,"method":"server/discover"}`
		c := a.asks(discover, versionHeader, sessionless)
		s.gets(discover)
		if proven {
			s.says(listed)
		} else {
			s.says(`{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}`)
		}
		<-c
		i := a.asks(initialize)
		if proven {
			if r := <-i; r.status != 503 {
				t.Errorf("a second server: %+v", r)
			}
			if err := <-b.Failed(); err == nil {
				t.Error("nothing is reported")
			}
			continue
		}
		s.gets(initialize)
		s.says(initialized)
		if r := <-i; r.status != 200 || r.header.Get(sessionHeader) == "" {
			t.Errorf("the same server: %+v", r)
		}
		if status, _ := a.says(discover, versionHeader, sessionless); status != 503 {
			t.Errorf("sessionless after the session began: %d", status)
		}
	}
}

// TestServerFails: the asker is told, the failure is reported with its name, and
// the session is over while others go on.
func TestServerFails(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(s script)
		want reason.Code
	}{
		"ended":       {func(s script) { s.out.Close() }, reason.McpServerEnded},
		"half-line":   {func(s script) { io.WriteString(s.out, `{"jsonrpc"`); s.out.Close() }, reason.McpServerEnded},
		"broken-pipe": {func(s script) { s.out.CloseWithError(errors.New("read error")) }, reason.McpServerEnded},
		"banner":      {func(s script) { io.WriteString(s.out, "Welcome to \x1b[31mfiles\x1b[0m 1.0\n") }, reason.McpServerMalformed},
		"empty-line":  {func(s script) { io.WriteString(s.out, "\n") }, reason.McpServerMalformed},
		"batch":       {func(s script) { io.WriteString(s.out, "["+listed+"]\n") }, reason.McpServerMalformed},
		"twice":       {func(s script) { io.WriteString(s.out, `{"jsonrpc":"2.0","id":1,"result":1,"result":2}`+"\n") }, reason.McpServerMalformed},
		"id-1.5":      {func(s script) { io.WriteString(s.out, `{"jsonrpc":"2.0","id":1.5,"result":1}`+"\n") }, reason.McpServerMalformed},
		"both":        {func(s script) { io.WriteString(s.out, `{"jsonrpc":"2.0","id":1,"method":"m","result":1}`+"\n") }, reason.McpServerMalformed},
		"not-utf-8":   {func(s script) { io.WriteString(s.out, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}\n") }, reason.McpServerMalformed},
		"question-twice": {func(s script) {
			io.WriteString(s.out, strings.Repeat(`{"jsonrpc":"2.0","id":9,"method":"m"}`+"\n", 2))
		}, reason.McpServerMalformed},
		"20-MB-line": {func(s script) {
			io.WriteString(s.out, `{"jsonrpc":"2.0","id":1,"result":"`)
			for range 20 {
				if _, err := s.out.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
					return
				}
			}
		}, reason.McpServerMalformed},
		"takes-no-input": {func(s script) { s.raw.Close(); <-time.After(0) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			open, servers := scripted(t)
			b, hc, _ := serve(t, open)
			a := agent{t, hc}
			bystander, other := a.begins(servers)
			id, s := a.begins(servers)
			var waiting []<-chan reply
			for i, accept := range []string{"application/json", eventStream} {
				m := strings.Replace(list, `"id":1`, fmt.Sprintf(`"id":%d`, i+1), 1)
				waiting = append(waiting, a.asks(m, sessionHeader, id, "Accept", accept))
				s.gets(m)
			}
			tc.do(s)
			if name == "takes-no-input" {
				waiting = append(waiting, a.asks(strings.Replace(list, "1", "3", 1), sessionHeader, id))
				tc.want = reason.McpServerEnded
			}
			for i, w := range waiting {
				if r := <-w; r.err != nil || !strings.Contains(r.body, "the server has ended") || !strings.Contains(r.body, fmt.Sprintf(`"id":%d`, i+1)) {
					t.Errorf("asker %d: %+v", i, r)
				}
			}
			err := <-b.Failed()
			e, ok := reason.Of(err)
			if !ok || e.Code != tc.want || len(e.Error()) > 500 || strings.Contains(e.Error(), "\x1b") {
				t.Errorf("reported: %v", err)
			}
			if status, _ := a.says(list, sessionHeader, id); status != 404 {
				t.Errorf("afterwards: %d", status)
			}
			c := a.asks(list, sessionHeader, bystander)
			other.gets(list)
			other.says(listed)
			if r := <-c; r.body != listed {
				t.Errorf("another session: %+v", r)
			}
		})
	}
}

// TestOpenFails: the agent hears that there is no server, the launcher why.
func TestOpenFails(t *testing.T) {
	why := errors.New("no room for its box")
	b, hc, _ := serve(t, func(context.Context) (io.ReadWriteCloser, error) { return nil, why })
	status, body := agent{t, hc}.says(initialize)
	if status != 503 || strings.Contains(body, "room") {
		t.Errorf("%d %s", status, body)
	}
	if err := <-b.Failed(); err != why {
		t.Error(err)
	}
}

// TestUnheard: a question of the server that nobody can answer is answered.
func TestUnheard(t *testing.T) {
	open, servers := scripted(t)
	b, hc, _ := serve(t, open)
	a := agent{t, hc}
	const said = `{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":"no client takes this"}}`
	// Without a session and without an open stream.
	c := a.asks(list, versionHeader, sessionless)
	s := <-servers
	s.gets(list)
	s.says(`{"jsonrpc":"2.0","id":"\u0071","method":"sampling/createMessage"}`)
	s.gets(fmt.Sprintf(said, `"\u0071"`))
	s.says(listed)
	<-c
	// More than can wait: the bridge keeps 256 questions and 1024 messages.
	id, s := a.begins(servers)
	for i := range maxCalls {
		s.says(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"m"}`, i))
	}
	s.says(`{"jsonrpc":"2.0","id":1000,"method":"m"}`)
	s.gets(fmt.Sprintf(said, "1000"))
	for range 3 * maxWaiting {
		s.says(`{"jsonrpc":"2.0","method":"flood"}`)
	}
	for range 10 {
		s.says(`{"jsonrpc":"2.0","method":"flood","params":{"a":"` + strings.Repeat("x", maxBytes/4) + `"}}`)
	}
	c = a.asks(list, sessionHeader, id)
	s.gets(list)
	s.says(listed)
	<-c
	q := b.sessions[len(b.sessions)-1].waiting
	if len(q.list) > maxWaiting || q.size > maxBytes || len(q.list) == 0 {
		t.Errorf("%d messages wait, %d bytes", len(q.list), q.size)
	}
}

// TestSizes: 16 MiB pass in both directions, one byte more does not, and big
// messages are few at a time.
func TestSizes(t *testing.T) {
	open, servers := scripted(t)
	b, hc, _ := serve(t, open)
	a := agent{t, hc}
	id, s := a.begins(servers)
	frame := func(head, tail string, size int) string {
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	ask := frame(`{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"`, `"}}`, MaxMessage)
	say := frame(`{"jsonrpc":"2.0","id":1,"result":"`, `"}`, MaxMessage)
	c := a.asks(ask, sessionHeader, id, "Accept", eventStream)
	s.gets(ask)
	s.says(say)
	if r := <-c; r.body != "event: message\ndata: "+say+"\n" {
		t.Errorf("%d bytes, %.100s", len(r.body), r.body)
	}
	if status, _ := a.says(ask+" ", sessionHeader, id); status != 413 {
		t.Errorf("one byte more: %d", status)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://files.mcp/mcp", io.MultiReader(strings.NewReader(ask), strings.NewReader(" "))) // chunked
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(sessionHeader, id)
	if got, err := hc.Do(r); err != nil || got.StatusCode != 413 {
		t.Errorf("one byte more, chunked: %v %v", got, err)
	} else {
		got.Body.Close()
	}
	var held []<-chan reply
	for i := range maxBig + 1 { // the server takes one byte of the first
		if i == 1 {
			if _, err := s.in.Peek(1); err != nil {
				t.Fatal(err)
			}
			for len(b.bigIn) > 0 {
				time.Sleep(time.Millisecond)
			}
		}
		held = append(held, a.asks(frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"m","params":{"a":"`, i), `"}}`, 1<<20), sessionHeader, id))
	}
	for len(b.bigIn) < maxBig {
		time.Sleep(time.Millisecond)
	}
	if status, _ := a.says(frame(`{"jsonrpc":"2.0","id":9,"method":"m","params":{"a":"`, `"}}`, 1<<20), sessionHeader, id); status != 503 {
		t.Errorf("one big message too many: %d", status)
	}
	for range held {
		line, err := s.in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		m, err := parse([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		s.says(`{"jsonrpc":"2.0","id":` + string(m.value(`"id"`)) + `,"result":1}`)
	}
	for _, c := range held {
		if r := <-c; r.status != 200 {
			t.Errorf("%+v", r)
		}
	}
}

// TestSlowReader: an agent that takes nothing holds up neither the server nor other
// sessions for long enough to matter, and memory stays bounded.
func TestSlowReader(t *testing.T) {
	open, servers := scripted(t)
	_, hc, addr := serve(t, open)
	a := agent{t, hc}
	id, s := a.begins(servers)
	conn, err := net.Dial("tcp", addr) // a GET that is never read
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /mcp HTTP/1.1\r\nHost: files.mcp\r\nAccept: text/event-stream\r\nMcp-Session-Id: %s\r\n\r\n", id)
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil { // it is attached
		t.Fatal(err)
	}
	flood := `{"jsonrpc":"2.0","method":"flood","params":{"a":"` + strings.Repeat("x", 100<<10) + `"}}`
	for range 200 { // 20 MB: more than sockets and queue take
		s.says(flood)
	}
	c := a.asks(list, sessionHeader, id)
	s.gets(list)
	s.says(listed)
	if r := <-c; r.body != listed {
		t.Errorf("%+v", r)
	}
}

// TestConnections: more connections than are served wait, and are served when
// others go.
func TestConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	few := limit(l, 2)
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := few.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	one, two := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Fatal("a third at once")
	case <-time.After(50 * time.Millisecond): // it would have come
	}
	one.Close()
	one.Close() // counts once
	three := <-accepted
	few.Close()
	if _, ok := <-accepted; ok {
		t.Error("accepts after Close")
	}
	two.Close()
	three.Close()
}

// TestClose ends what is open, and Serve after it returns at once.
func TestClose(t *testing.T) {
	open, servers := scripted(t)
	b, hc, _ := serve(t, open)
	a := agent{t, hc}
	id, s := a.begins(servers)
	c := a.asks(list, sessionHeader, id)
	s.gets(list)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r := <-c; r.err == nil && r.status == 200 {
		t.Errorf("%+v", r)
	}
	if _, err := s.in.ReadByte(); err == nil {
		t.Error("the server's input is open")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(l); err != nil {
		t.Error(err)
	}
	select {
	case err := <-b.Failed():
		t.Error("closing is no failure: ", err)
	default:
	}
}
