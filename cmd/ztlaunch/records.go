package main

import (
	"sync"

	"github.com/ztlaunch/ztlaunch/launch/audit"
)

// records writes audit records in the order in which they come, each beside what
// goes on meanwhile: a record is two syncs of a disk, and a launch has much to
// prepare that leaves no trace if it is given up. Whoever is about to do what a
// record says waits for settle. After one that could not be written none is.
type records struct {
	log  *audit.Log
	mu   sync.Mutex
	last chan struct{} // closed when the newest is written, or is not going to be
	err  error         // of the first that could not be written
}

// begin begins to write a record.
func (r *records) begin(rec audit.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, done := r.last, make(chan struct{})
	r.last = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		if r.failed() != nil {
			return
		}
		if err := r.log.Append(rec); err != nil {
			r.mu.Lock()
			r.err = err
			r.mu.Unlock()
		}
	}()
}

func (r *records) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// settle returns when every record that was begun is on the disk, or with why one is
// not.
func (r *records) settle() error {
	r.mu.Lock()
	last := r.last
	r.mu.Unlock()
	if last != nil {
		<-last
	}
	return r.failed()
}

// settled is settle as something to wait for.
func (r *records) settled() <-chan error {
	c := make(chan error, 1)
	go func() { c <- r.settle() }()
	return c
}

// add writes a record.
func (r *records) add(rec audit.Record) error {
	r.begin(rec)
	return r.settle()
}
