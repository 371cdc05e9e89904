package mcp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

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
	if del.StatusCode != http.StatusNoContent {
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
	go func() {
		got, err := hc.Do(r)
		if err == nil {
			got.Body.Close()
		}
		gone <- err
	}()
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
			got, err := hc.Do(r) //nolint:bodyclose // closed by who receives it
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
		go func() {
			if got, err := hc.Do(r); err == nil {
				got.Body.Close()
			}
			close(gone)
		}()
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
	for i := range maxServers {
		get, err := a.do(http.MethodGet, "", sessionHeader, ids[i], "Accept", eventStream)
		if err != nil {
			t.Fatal(err)
		}
		defer get.Body.Close()
	}
	if status, body := a.says(initialize); status != 409 {
		t.Errorf("a fifth with all busy: %d %s", status, body)
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
