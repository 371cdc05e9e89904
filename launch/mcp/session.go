package mcp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// maxCalls is how many requests of either side may be open at once.
const maxCalls = 256

var (
	errBusy = errors.New("too many requests are open")
	errID   = errors.New("a request with this id is open")
)

// session is one server and those who speak with it.
type session struct {
	id     string // "" for those without sessions; changed under Bridge.mu
	server io.ReadWriteCloser
	input  chan []byte   // lines for the server
	gone   chan struct{} // closed when the session is over
	bigOut chan struct{} // one element per big message on its way to the agent

	mu      sync.Mutex
	over    bool
	proven  bool             // the server has answered something with a result
	get     *stream          // the GET stream
	calls   map[string]*call // open requests of the agent, by the id that the server knows
	order   []*call          // those that somebody waits for, oldest first
	asked   map[string]bool  // open requests of the server, by their id
	waiting queue            // for a stream
	made    uint64           // ids
}

func newSession(id string, server io.ReadWriteCloser) *session {
	return &session{
		id: id, server: server, input: make(chan []byte), gone: make(chan struct{}), bigOut: make(chan struct{}, maxBig),
		calls: map[string]*call{}, asked: map[string]bool{},
	}
}

// call is one request of the agent.
type call struct {
	key     string // the agent's id
	raw     []byte // as the agent wrote it
	wire    string // the id that the server knows
	named   []byte // as the server is given it
	method  string
	stream  *stream       // nil when the agent takes JSON only
	answer  chan parcel   // takes one
	dropped chan struct{} // closed when the agent called it off
	left    bool          // nobody waits any more, but the server may still answer
}

// fail ends the session and says whether this was the end of it.
func (s *session) fail() bool {
	s.mu.Lock()
	first := !s.over
	s.over = true
	if first {
		close(s.gone)
		s.waiting.take()
	}
	s.mu.Unlock()
	if first {
		s.server.Close()
	}
	return first
}

// busy says whether somebody is at the other end now.
func (s *session) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get != nil || len(s.order) > 0
}

// rename gives the server to a session, unless it is in use or knows a client.
func (s *session) rename(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.proven || len(s.calls) > 0 {
		return false
	}
	s.id = id
	return true
}

// write passes lines to the server, one writer for all, until the session is over
// or the server takes no more.
func (s *session) write() error {
	for {
		select {
		case line := <-s.input:
			if _, err := s.server.Write(line); err != nil {
				select {
				case <-s.gone: // the reader has found out why
				case <-time.After(time.Second):
				}
				return ended(err)
			}
		case <-s.gone:
			return nil
		}
	}
}

// send passes a message on; false when the session or who sends ends first.
func (s *session) send(gone <-chan struct{}, m message) bool {
	select {
	case s.input <- m.text():
		return true
	case <-gone:
	case <-s.gone:
	}
	return false
}

// read takes what the server says, until it says something else than messages.
func (s *session) read() error {
	r := bufio.NewReaderSize(s.server, 64<<10)
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		m, err := parse(line)
		if err != nil {
			return malformed(line, err)
		}
		p := parcel{done: func() {}}
		if len(line) > bigMessage {
			select {
			case s.bigOut <- struct{}{}:
				p.done = func() { <-s.bigOut }
			case <-s.gone:
				return ended(nil)
			}
		}
		if err := s.take(m, p); err != nil {
			return malformed(line, err)
		}
	}
}

var errLong = fmt.Errorf("more than %d bytes", MaxMessage)

// readLine reads to a newline.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > MaxMessage+1:
			return nil, malformed(line, errLong)
		case err == nil:
			return line, nil
		case errors.Is(err, io.EOF):
			return nil, ended(nil)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, ended(err)
		}
	}
}

func malformed(line []byte, err error) error {
	return &reason.Error{Code: reason.McpServerMalformed, What: "read from the server", Expected: "a JSON-RPC message on each line",
		Found: clip(bytes.TrimSpace(line)), Next: "a server must write its log to standard error", Err: err}
}

func ended(err error) error {
	return &reason.Error{Code: reason.McpServerEnded, What: "read from the server", Expected: "messages", Found: "the end of its output", Err: err}
}

// take finds out who a message of the server is for.
func (s *session) take(m message, p parcel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.kind == response {
		s.proven = s.proven || m.value(`"result"`) != nil
		c := s.calls[m.id]
		if c == nil || c.left {
			delete(s.calls, m.id)
			p.done() // nobody asked, or nobody waits
			return nil
		}
		s.forget(c)
		p.text = m.with(`"id"`, c.raw).text()
		c.answer <- p
		return nil
	}
	if m.kind == request && s.asked[m.id] {
		return errors.New("the id of a request that is open")
	}
	p.text = m.text()
	if m.kind == request && len(s.asked) >= maxCalls {
		p.done()
		s.reject(m.value(`"id"`))
	} else if s.deliver(p) {
		if m.kind == request {
			s.asked[m.id] = true
		}
	} else if m.kind == request {
		s.reject(m.value(`"id"`))
	}
	return nil
}

// deliver hands a message to a stream, or keeps it for one. What is not delivered
// is done with. The lock is held.
func (s *session) deliver(p parcel) bool {
	if s.get != nil {
		return s.get.add(p)
	}
	var open *stream
	for _, c := range slices.Backward(s.order) {
		if c.stream != nil && (open == nil || c.method == "subscriptions/listen") {
			open = c.stream
		}
	}
	if open != nil {
		return open.add(p)
	}
	p.done() // what waits is bounded by its own queue
	p.done = func() {}
	return s.id != "" && s.waiting.add(p)
}

// reject answers the server in the place of an agent that is not there. The lock
// is held, so the line waits elsewhere.
func (s *session) reject(id []byte) {
	line := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":"no client takes this"}}`+"\n", id)
	go func() {
		select {
		case s.input <- line:
		case <-s.gone:
		}
	}()
}

// begin registers a request of the agent, and says why not.
func (s *session) begin(m message, st *stream) (*call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) >= maxCalls { // forget those that nobody waits for
		maps.DeleteFunc(s.calls, func(_ string, c *call) bool { return c.left })
	}
	if len(s.calls) >= maxCalls {
		return nil, errBusy
	}
	id := m.value(`"id"`)
	c := &call{key: m.id, raw: id, wire: m.id, named: id, method: m.method, stream: st,
		answer: make(chan parcel, 1), dropped: make(chan struct{})}
	if other := s.calls[m.id]; other != nil {
		if s.id != "" && !other.left {
			return nil, errID
		}
		for s.calls[c.wire] != nil {
			s.made++
			name := "zt-" + strconv.FormatUint(s.made, 10)
			c.wire, c.named = "s"+name, []byte(`"`+name+`"`)
		}
	}
	s.calls[c.wire] = c
	s.order = append(s.order, c)
	if st != nil && s.get == nil {
		for _, p := range s.waiting.take() {
			st.add(p)
		}
	}
	return c, nil
}

// forget takes a call out of every list. The lock is held.
func (s *session) forget(c *call) {
	if s.calls[c.wire] == c {
		delete(s.calls, c.wire)
	}
	s.order = slices.DeleteFunc(s.order, func(x *call) bool { return x == c })
}

// abandon forgets a call that may still be answered: its id stays taken until
// then. The lock is held.
func (s *session) abandon(c *call) {
	open := s.calls[c.wire] == c
	s.forget(c)
	if open {
		c.left, s.calls[c.wire] = true, c
	}
}

// leave ends a call from the agent's side: what its stream still held finds
// another, and an answer that comes later finds nobody.
func (s *session) leave(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abandon(c)
	if c.stream != nil {
		s.redeliver(c.stream)
	}
	select {
	case p := <-c.answer: // it came too late
		p.done()
	default:
	}
}

// redeliver gives what a stream still holds to another one. The lock is held.
func (s *session) redeliver(st *stream) {
	for _, p := range st.queue.take() {
		s.deliver(p)
	}
}

// answered says whether the server asked this, and that it is answered now.
func (s *session) answered(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.asked[id]
	delete(s.asked, id)
	return known
}

// callOff is a notifications/cancelled of the agent: its request id becomes the
// server's, and whoever waits for the answer is told.
func (s *session) callOff(m message) message {
	params := m.value(`"params"`)
	key, err := idKey(find(members(params), `"requestId"`))
	if err != nil {
		return m
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.order, func(c *call) bool { return c.key == key })
	if i < 0 {
		return m
	}
	c := s.order[i]
	s.abandon(c)
	close(c.dropped)
	inner := message{members: members(params)}.with(`"requestId"`, c.named)
	return m.with(`"params"`, bytes.TrimSuffix(inner.text(), []byte("\n")))
}

// attach makes a stream the session's GET stream; an older one is over.
func (s *session) attach(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.get; old != nil { // a client that came back
		close(old.over)
		for _, p := range old.queue.take() {
			st.add(p)
		}
	}
	s.get = st
	for _, p := range s.waiting.take() {
		st.add(p)
	}
}

// detach ends a GET stream.
func (s *session) detach(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.get == st {
		s.get = nil
		s.redeliver(st)
	}
}

// drain takes what a stream has to send.
func (s *session) drain(st *stream) []parcel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.queue.take()
}
