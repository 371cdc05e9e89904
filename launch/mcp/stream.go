package mcp

import (
	"fmt"
	"net/http"
	"time"
)

const (
	maxWaiting = 1024    // messages that wait in a queue
	maxBytes   = 4 << 20 // of them
	writeTime  = 60 * time.Second
)

// parcel is a message on its way out, and what to do when it is there.
type parcel struct {
	text []byte
	done func()
}

// queue holds messages until somebody takes them.
type queue struct {
	list []parcel
	size int
}

// add keeps a message, or is done with it.
func (q *queue) add(p parcel) bool {
	if len(q.list) >= maxWaiting || q.size+len(p.text) > maxBytes && q.size > 0 {
		p.done()
		return false
	}
	q.list, q.size = append(q.list, p), q.size+len(p.text)
	return true
}

func (q *queue) take() []parcel {
	list := q.list
	*q = queue{}
	return list
}

// stream is one open text/event-stream. Its session's lock guards the queue.
type stream struct {
	queue queue
	wake  chan struct{} // holds one element when the queue has something new
	over  chan struct{} // closed when another stream took its place
}

func newStream() *stream { return &stream{wake: make(chan struct{}, 1), over: make(chan struct{})} }

func (s *stream) add(p parcel) bool {
	if !s.queue.add(p) {
		return false
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return true
}

// events writes a text/event-stream.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// stream begins one; what is asked for may take long.
func begin(w http.ResponseWriter) events {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	e := events{w, http.NewResponseController(w)}
	_ = e.control.Flush() // the first message finds out
	return e
}

// send writes one message, which is one line, as one event.
func (e events) send(p parcel) bool {
	defer p.done()
	err := e.control.SetWriteDeadline(time.Now().Add(writeTime))
	if err == nil {
		_, err = fmt.Fprintf(e.w, "event: message\ndata: %s\n", p.text)
	}
	if err == nil {
		err = e.control.Flush()
	}
	if err == nil {
		err = e.control.SetWriteDeadline(time.Time{})
	}
	return err == nil
}

// all writes messages until one fails; each is done with.
func (e events) all(list []parcel) bool {
	ok := true
	for _, p := range list {
		if ok {
			ok = e.send(p)
		} else {
			p.done()
		}
	}
	return ok
}
