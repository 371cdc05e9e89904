package tree

import (
	"sync"
	"unsafe"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Open is a Tree that Encode wrote, for a caller who knows that it did, as a store
// does that holds a MAC of the text. Its digest is known at once. The rest is
// decoded when it is asked for, or from Begin on beside whatever the caller does
// meanwhile: who decides by the digest need not have thousands of entries. Wait
// before the first entry is asked for: where Decode refuses the text there are none,
// and asking panics. raw must not be written to afterwards.
func Open(raw []byte) (Tree, error) {
	d := decoder{rest: unsafe.String(unsafe.SliceData(raw), len(raw))}
	sum, ok := d.sum()
	if !ok {
		return Tree{}, d.refusal()
	}
	return Tree{rows: &late{raw: raw, done: make(chan struct{})}, digest: sum}, nil
}

// Begin starts to decode a Tree from Open. Every other Tree has its entries.
func (t Tree) Begin() {
	if l, ok := t.rows.(*late); ok {
		l.once.Do(func() { go l.decode() })
	}
}

// Wait returns when a Tree from Open has its entries, or with why it has none. Every
// other Tree has them.
func (t Tree) Wait() error {
	t.Begin()
	if l, ok := t.rows.(*late); ok {
		<-l.done
		return l.err
	}
	return nil
}

// late are the entries of a Tree that is yet to be decoded.
type late struct {
	raw  []byte
	once sync.Once
	done chan struct{}
	tree Tree
	err  error
}

func (l *late) decode() {
	defer close(l.done)
	defer func() {
		if fault := recover(); fault != nil {
			l.err = reason.Panicked("read tree", fault)
		}
	}()
	l.tree, l.err = Decode(l.raw)
}

func (l *late) rows() rows {
	l.once.Do(func() { go l.decode() })
	<-l.done
	if l.err != nil {
		panic(l.err)
	}
	return l.tree.rows
}

func (l *late) len() int       { return l.rows().len() }
func (l *late) at(i int) Entry { return l.rows().at(i) }
