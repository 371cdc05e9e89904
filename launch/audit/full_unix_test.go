//go:build unix

package audit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// full fills the disk, in a process of its own.
func full(root string) {
	// One byte less than the next record needs, then room again.
	st, err := os.Stat(root + "/audit/host.jsonl")
	if err != nil {
		os.Exit(3)
	}
	l, err := Open(root+"/audit", root+"/trust", day)
	if err != nil {
		os.Exit(4)
	}
	var old unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_FSIZE, &old)
	unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(max(st.Size()+100, 8192)), Max: old.Max})
	r := Record{Time: day, Kind: Launch, Note: strings.Repeat("n", 4096), Path: strings.Repeat("p", 4096), Cause: strings.Repeat("c", 4096)}
	e, ok := reason.Of(l.Append(r))
	if !ok || e.Code != reason.AuditUnwritable || e.Code.Class() != reason.Host {
		os.Exit(5)
	}
	unix.Setrlimit(unix.RLIMIT_FSIZE, &old)
	if l.Append(Record{Time: day, Kind: Exit}) != nil {
		os.Exit(6)
	}
	os.Exit(0)
}

func TestUnwritable(t *testing.T) {
	root := t.TempDir()
	open5(t, root)
	if err := self(t, root, "full").Run(); err != nil {
		t.Fatal("disk full: ", err)
	}
	if rep := verified(t, root); !rep.OK() || rep.Records != 6 {
		t.Errorf("disk full: %d records, %v", rep.Records, rep.Problems)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := t.TempDir()
	if err := errors.Join(os.Mkdir(fifo+"/audit", 0o700), unix.Mkfifo(fifo+"/audit/host.jsonl", 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, file + "/below", fifo + "/audit"} {
		_, err := Open(dir, t.TempDir(), day)
		if e, ok := reason.Of(err); !ok || e.Code != reason.AuditUnwritable {
			t.Errorf("open in %s: %v", dir, err)
		}
	}
	l := reopen(t, root)
	l.Close()
	if e, ok := reason.Of(l.Append(Record{Time: day, Kind: Exit})); !ok || e.Code != reason.AuditUnwritable {
		t.Errorf("append after close: %v", e)
	}
}
