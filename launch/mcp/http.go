package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const (
	sessionHeader = "Mcp-Session-Id"
	versionHeader = "Mcp-Protocol-Version"
	sessionless   = "2026-07-28" // the first version without sessions

	bodyTime = 30 * time.Second // for the agent to send a body
)

var versionForm = regexp.MustCompile(`^20[0-9]{2}-[0-9]{2}-[0-9]{2}$`)

// ServeHTTP is the server's one page.
func (b *Bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	version := r.Header.Get(versionHeader)
	switch {
	case r.Host != b.host && r.Host != b.host+":80":
		refuse(w, http.StatusForbidden, nil, "this is "+b.host)
	case r.Header.Get("Origin") != "" && r.Header.Get("Origin") != "http://"+b.host:
		refuse(w, http.StatusForbidden, nil, "a request of another origin")
	case r.URL.Path != Path:
		refuse(w, http.StatusNotFound, nil, "the path is "+Path)
	case version != "" && !versionForm.MatchString(version):
		refuse(w, http.StatusBadRequest, nil, "no protocol version")
	case r.Method == http.MethodPost:
		b.post(w, r, version)
	case r.Method == http.MethodGet && version < sessionless:
		b.get(w, r)
	case r.Method == http.MethodDelete && version < sessionless:
		b.delete(w, r)
	default:
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, nil, "the method is POST")
	}
}

// refuse answers with a JSON-RPC error; id is the request's, if it has one.
func refuse(w http.ResponseWriter, status int, id []byte, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(fault(status, id, why)) // who hung up hears nothing
}

// fault is a JSON-RPC error object for an HTTP status.
func fault(status int, id []byte, why string) []byte {
	code := -32600
	if status >= 500 {
		code = -32000
	}
	if id == nil {
		id = []byte("null")
	}
	text, _ := json.Marshal(why) // text encodes
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%s}}`+"\n", id, code, text)
}

// post takes one message.
func (b *Bridge) post(w http.ResponseWriter, r *http.Request, version string) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, nil, "the content type is application/json")
		return
	}
	raw, release, status, err := b.body(w, r)
	if err != nil {
		refuse(w, status, nil, err.Error())
		return
	}
	defer release()
	m, err := parse(raw)
	if err == nil {
		err = mirrored(r.Header, m)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, m.value(`"id"`), "not accepted: "+err.Error())
		return
	}
	s, no := b.session(m, r.Header.Get(sessionHeader), version)
	if s == nil {
		refuse(w, no.status, m.value(`"id"`), no.why)
		return
	}
	switch {
	case m.kind == request:
		b.request(w, r, s, m, release)
		return
	case m.kind == response && !s.answered(m.id):
		refuse(w, http.StatusBadRequest, nil, "an answer to nothing that was asked")
		return
	case m.method == "notifications/cancelled":
		m = s.callOff(m)
	}
	if !s.send(r.Context().Done(), m) {
		refuse(w, http.StatusNotFound, nil, "the session has ended")
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// body reads a request's body in full. Few big ones are read at a time.
func (b *Bridge) body(w http.ResponseWriter, r *http.Request) (raw []byte, release func(), status int, err error) {
	release = func() {}
	if r.ContentLength > MaxMessage {
		return nil, nil, http.StatusRequestEntityTooLarge, errLong
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(bodyTime)); err != nil {
		return nil, nil, http.StatusBadRequest, errors.New("the body did not arrive")
	}
	defer func() { _ = control.SetReadDeadline(time.Time{}) }() // the connection may be gone
	raw, err = io.ReadAll(io.LimitReader(r.Body, bigMessage+1))
	if err == nil && len(raw) > bigMessage {
		select {
		case b.bigIn <- struct{}{}:
		default:
			return nil, nil, http.StatusServiceUnavailable, errBusy
		}
		held := true
		release = func() {
			if held {
				held = false
				<-b.bigIn
			}
		}
		var rest []byte
		rest, err = io.ReadAll(io.LimitReader(r.Body, MaxMessage+1-int64(len(raw))))
		raw = append(raw, rest...)
	}
	if err == nil && len(raw) > MaxMessage {
		status, err = http.StatusRequestEntityTooLarge, errLong
	} else if err != nil {
		status, err = http.StatusBadRequest, errors.New("the body did not arrive")
	}
	if err != nil {
		release()
		return nil, nil, status, err
	}
	return raw, release, 0, nil
}

// mirrored holds the headers that repeat the body to the body.
func mirrored(h http.Header, m message) error {
	if got := h.Values("Mcp-Method"); len(got) > 0 && (len(got) > 1 || got[0] != m.method) {
		return errors.New("the header Mcp-Method says something else")
	}
	got := h.Values("Mcp-Name")
	if len(got) == 0 {
		return nil
	}
	field := `"name"`
	if m.method == "resources/read" {
		field = `"uri"`
	}
	var name string
	if json.Unmarshal(find(members(m.value(`"params"`)), field), &name) != nil || len(got) > 1 || got[0] != name {
		return errors.New("the header Mcp-Name says something else")
	}
	return nil
}

// request passes a request on and waits for its answer.
func (b *Bridge) request(w http.ResponseWriter, r *http.Request, s *session, m message, release func()) {
	var st *stream
	if accepts(r, "text/event-stream", false) {
		st = newStream()
	} else if !accepts(r, "application/json", true) {
		refuse(w, http.StatusNotAcceptable, m.value(`"id"`), "application/json or text/event-stream must be accepted")
		return
	}
	c, err := s.begin(m, st)
	if err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, errBusy) {
			status = http.StatusServiceUnavailable
		}
		refuse(w, status, m.value(`"id"`), err.Error())
		return
	}
	defer s.leave(c)
	if m.method == "initialize" {
		w.Header().Set(sessionHeader, s.id)
	}
	if !s.send(r.Context().Done(), m.with(`"id"`, c.named)) {
		refuse(w, http.StatusBadGateway, c.raw, "the server has ended")
		return
	}
	release() // it is the server's now
	if st == nil {
		answer(w, r, s, c)
		return
	}
	e := begin(w)
	for {
		select {
		case <-st.wake:
		case p := <-c.answer:
			e.all(s.drain(st))
			e.send(p)
			return
		case <-c.dropped:
			e.all(s.drain(st))
			return
		case <-s.gone:
			e.send(parcel{fault(http.StatusBadGateway, c.raw, "the server has ended"), func() {}})
			return
		case <-r.Context().Done():
			return
		}
		if !e.all(s.drain(st)) {
			return
		}
	}
}

// answer waits for the answer of who takes JSON only.
func answer(w http.ResponseWriter, r *http.Request, s *session, c *call) {
	select {
	case p := <-c.answer:
		defer p.done()
		if http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime)) == nil {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(p.text) // who hung up hears nothing
		}
	case <-c.dropped:
		refuse(w, http.StatusOK, c.raw, "called off")
	case <-s.gone:
		refuse(w, http.StatusBadGateway, c.raw, "the server has ended")
	case <-r.Context().Done():
	}
}

// accepts says whether the client takes a media type; silent is the answer for
// one that says nothing.
func accepts(r *http.Request, media string, silent bool) bool {
	if len(r.Header.Values("Accept")) == 0 {
		return silent
	}
	for _, line := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			t, p, err := mime.ParseMediaType(part)
			if err == nil && p["q"] != "0" && (t == media || silent && (t == "*/*" || t == "application/*")) {
				return true
			}
		}
	}
	return false
}

// get is the stream for what the server says unasked.
func (b *Bridge) get(w http.ResponseWriter, r *http.Request) {
	if !accepts(r, "text/event-stream", false) {
		refuse(w, http.StatusNotAcceptable, nil, "text/event-stream must be accepted")
		return
	}
	s, no := b.session(message{}, r.Header.Get(sessionHeader), "")
	if s == nil {
		refuse(w, no.status, nil, no.why)
		return
	}
	st := newStream()
	s.attach(st)
	defer s.detach(st)
	e := begin(w)
	for e.all(s.drain(st)) {
		select {
		case <-st.wake:
		case <-st.over:
			return
		case <-s.gone:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// delete ends a session.
func (b *Bridge) delete(w http.ResponseWriter, r *http.Request) {
	s, no := b.session(message{}, r.Header.Get(sessionHeader), "")
	if s == nil {
		refuse(w, no.status, nil, no.why)
		return
	}
	b.drop(s)
	w.WriteHeader(http.StatusNoContent)
}
