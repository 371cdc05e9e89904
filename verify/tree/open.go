package tree

import (
	"unsafe"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Open is a Tree that Encode wrote, for a caller who knows that it did, as a store
// does that holds a MAC of the text. Its digest is known at once. The rest is
// decoded beside whatever the caller does meanwhile: a launch that decided by the
// digest need not wait for thousands of entries that it never asks for. Wait before
// the first entry is asked for: where Decode refuses the text there are none, and
// asking panics. raw must not be written to afterwards.
func Open(raw []byte) (Tree, error) {
	d := decoder{rest: unsafe.String(unsafe.SliceData(raw), len(raw))}
	sum, ok := d.sum()
	if !ok {
		return Tree{}, d.refusal()
	}
	late := &late{done: make(chan struct{})}
	go func() {
		defer close(late.done)
		defer func() {
			if fault := recover(); fault != nil {
				late.err = reason.Panicked("read tree", fault)
			}
		}()
		late.tree, late.err = Decode(raw)
	}()
	return Tree{rows: late, digest: sum}, nil
}

// Wait returns when a Tree from Open has its entries, or with why it has none. Every
// other Tree has them.
func (t Tree) Wait() error {
	if l, ok := t.rows.(*late); ok {
		<-l.done
		return l.err
	}
	return nil
}

// late are the entries of a Tree that is being decoded.
type late struct {
	done chan struct{}
	tree Tree
	err  error
}

func (l *late) rows() rows {
	<-l.done
	if l.err != nil {
		panic(l.err)
	}
	return l.tree.rows
}

func (l *late) len() int       { return l.rows().len() }
func (l *late) at(i int) Entry { return l.rows().at(i) }
