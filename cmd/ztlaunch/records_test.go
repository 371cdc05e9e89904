//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/launch/audit"
)

// TestRecords keep their order, and none follows one that could not be written.
func TestRecords(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	log, err := audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "trust"), now)
	if err != nil {
		t.Fatal(err)
	}
	r := &records{log: log}
	note := func(i int) audit.Record { return audit.Record{Time: now, Kind: audit.Decision, Note: strconv.Itoa(i)} }
	for i := range 20 {
		r.begin(note(i))
	}
	if err := <-r.settled(); err != nil {
		t.Fatal(err)
	}
	seen := func() []string {
		var notes []string
		for e, err := range audit.Read(filepath.Join(dir, "audit")) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Record.Kind == audit.Decision {
				notes = append(notes, e.Record.Note)
			}
		}
		return notes
	}
	all := seen()
	for i, n := range all {
		if n != strconv.Itoa(i) {
			t.Fatalf("out of order: %q", all)
		}
	}
	if len(all) != 20 {
		t.Errorf("%d records", len(all))
	}
	head := filepath.Join(dir, "trust", "audit-head")
	if err := os.Rename(head, head+".away"); err != nil {
		t.Fatal(err)
	}
	r.begin(note(20))
	lost := r.settle()
	if lost == nil {
		t.Fatal("a record without a head was written")
	}
	if err := os.Rename(head+".away", head); err != nil {
		t.Fatal(err)
	}
	if err := r.add(note(21)); !errors.Is(err, lost) {
		t.Errorf("after a lost record: %v", err)
	}
	if n := len(seen()); n != 20 {
		t.Errorf("%d records after one was lost", n)
	}
}
