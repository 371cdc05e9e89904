package mcp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"slices"
	"sync"
)

// Bridge connects an agent over HTTP with servers over their standard input and
// output. Make it with New.
type Bridge struct {
	host   string
	open   Open
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	bigIn  chan struct{} // one element per big message on its way to a server
	failed chan error

	opening  sync.Mutex // one server is started at a time
	mu       sync.Mutex
	sessions []*session // the longest unused first; one of them may have no id
}

// refusal is why a request finds no session.
type refusal struct {
	status int
	why    string
}

// session finds the session of a message, and starts one where the protocol says
// so. A message that is no request starts none.
func (b *Bridge) session(m message, id, version string) (*session, refusal) {
	begin := m.kind == request && m.method == "initialize" && id == ""
	if !begin && id == "" && version < sessionless {
		return nil, refusal{http.StatusBadRequest, "no " + sessionHeader}
	}
	if !begin {
		if s := b.known(id); s != nil {
			return s, refusal{}
		}
		if id != "" || m.kind != request {
			return nil, refusal{http.StatusNotFound, "no such session"}
		}
	}
	b.opening.Lock()
	defer b.opening.Unlock()
	if !begin {
		if s := b.known(""); s != nil { // somebody else was first
			return s, refusal{}
		}
		return b.start("")
	}
	name := make([]byte, 16)
	rand.Read(name) // never fails
	if s := b.adopt(hex.EncodeToString(name)); s != nil {
		return s, refusal{}
	}
	return b.start(hex.EncodeToString(name))
}

// known is the live session with this id, which has now been used.
func (b *Bridge) known(id string) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.sessions, func(s *session) bool { return s.id == id })
	if i < 0 {
		return nil
	}
	s := b.sessions[i]
	b.sessions = append(slices.Delete(b.sessions, i, i+1), s)
	return s
}

// adopt gives the sessionless server to a session if it has said nothing but no.
func (b *Bridge) adopt(id string) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		if s.id == "" && s.rename(id) {
			return s
		}
	}
	return nil
}

// start starts a server for a session, making room for it.
func (b *Bridge) start(id string) (*session, refusal) {
	b.mu.Lock()
	if len(b.sessions) >= maxServers {
		i := slices.IndexFunc(b.sessions, func(s *session) bool { return !s.busy() })
		if i < 0 {
			b.mu.Unlock()
			return nil, refusal{http.StatusConflict, "too many sessions are open"}
		}
		old := b.sessions[i]
		b.mu.Unlock()
		b.drop(old)
		b.mu.Lock()
	}
	b.mu.Unlock()
	server, err := b.open(b.ctx)
	if err != nil {
		b.report(err)
		return nil, refusal{http.StatusServiceUnavailable, "the server does not start"}
	}
	s := newSession(id, server)
	b.mu.Lock()
	over := b.ctx.Err() != nil
	if !over {
		b.sessions = append(b.sessions, s)
	}
	b.mu.Unlock()
	if over {
		server.Close()
		return nil, refusal{http.StatusServiceUnavailable, "the server has ended"}
	}
	for _, run := range []func() error{s.read, s.write} {
		go func() {
			if err := run(); s.fail() {
				b.report(err)
			}
			b.drop(s)
		}()
	}
	return s, refusal{}
}

// drop ends a session.
func (b *Bridge) drop(s *session) {
	s.fail()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions = slices.DeleteFunc(b.sessions, func(x *session) bool { return x == s })
}

func (b *Bridge) report(err error) {
	select {
	case b.failed <- err:
	default:
	}
}
