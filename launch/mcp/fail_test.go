package mcp

import (
	"bufio"
	"bytes"
	"context"
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
	if err := <-b.Failed(); !errors.Is(err, why) {
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
	if got, err := hc.Do(r); err != nil || got.StatusCode != http.StatusRequestEntityTooLarge {
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
