package tree

import (
	"io"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// pump reads ahead on a goroutine of its own, so that decompression and hashing
// run side by side.
type pump struct {
	full chan chunk
	free chan []byte
	quit chan struct{}
	done chan struct{}
	cur  chunk
	rest []byte
}

type chunk struct {
	buf []byte
	n   int
	err error
}

const (
	pumpDepth = 4
	pumpChunk = 256 << 10
)

func newPump(r io.Reader) *pump {
	p := &pump{
		full: make(chan chunk, pumpDepth),
		free: make(chan []byte, pumpDepth),
		quit: make(chan struct{}),
		done: make(chan struct{}),
	}
	for range pumpDepth {
		p.free <- nil // made when first used: most layers are small
	}
	go p.run(r)
	return p
}

func (p *pump) run(r io.Reader) {
	defer close(p.done)
	defer func() {
		if fault := recover(); fault != nil {
			p.hand(chunk{err: reason.Panicked("read layer", fault)})
		}
	}()
	for {
		var buf []byte
		select {
		case buf = <-p.free:
		case <-p.quit:
			return
		}
		if buf == nil {
			buf = make([]byte, pumpChunk)
		}
		c := chunk{buf: buf}
		for c.n < len(buf) && c.err == nil {
			var n int
			n, c.err = r.Read(buf[c.n:])
			c.n += n
			select {
			case <-p.quit:
				return
			default:
			}
		}
		if !p.hand(c) || c.err != nil {
			return
		}
	}
}

// hand gives a chunk to the reader; false if that is gone.
func (p *pump) hand(c chunk) bool {
	select {
	case p.full <- c:
		return true
	case <-p.quit:
		return false
	}
}

// Read hands out what the goroutine read, and its error when all of it is out.
func (p *pump) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.cur.err != nil {
			return 0, p.cur.err
		}
		if p.cur.buf != nil {
			p.free <- p.cur.buf
		}
		p.cur = <-p.full
		p.rest = p.cur.buf[:p.cur.n]
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// stop ends the goroutine and waits until it has left the reader.
func (p *pump) stop() {
	close(p.quit)
	<-p.done
}
