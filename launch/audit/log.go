package audit

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	logName  = "host.jsonl"
	keyName  = "audit-key"
	headName = "audit-head"
	next     = "ztlaunch audit verify"

	nextAbsent = "ztlaunch run writes the first record; if there was a log here, it was taken away"
)

// Log appends to a chain. Any number of them, in any number of processes, may
// be open at once; each append takes its own lock.
type Log struct {
	dir, headDir string
	key          []byte
	start        Start
}

// Start says how Open found the chain.
type Start struct {
	First    bool  // there was none: this host's first use, or all of it was deleted
	Finished bool  // the head was moved to a record that a crash had left ahead of it
	Cut      int64 // bytes of a torn write that were cut off and recorded
}

// Open makes ready to append to the chain in dir, whose key and head are in
// headDir, and begins one where there is none. Now is the time of a record
// that opening itself may write. It reads the end of the log, not all of it;
// Verify does that. Whoever cannot open must not act: every error is a
// *reason.Error.
func Open(dir, headDir string, now time.Time) (*Log, error) {
	l := &Log{}
	var err error
	if l.dir, err = filepath.Abs(dir); err == nil {
		l.headDir, err = filepath.Abs(headDir)
	}
	if err != nil {
		return nil, unwritable("open audit log "+dir, err)
	}
	for _, d := range []string{l.dir, l.headDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, unwritable("open audit log "+l.dir, err)
		}
	}
	unlock, err := lock(l.dir, false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l.key, err = readKey(l.path(keyName))
	if errors.Is(err, os.ErrNotExist) {
		return l, l.install(now)
	}
	if err != nil {
		return nil, refusal("open audit log "+l.dir, err)
	}
	f, _, err := l.end(now)
	if err != nil {
		return nil, err
	}
	return l, f.Close()
}

// Start says how Open found the chain.
func (l *Log) Start() Start { return l.start }

// Append writes one record and returns when it is on the disk. After an error
// the caller must not do what the record says; the record may be in the log all
// the same, as one that says what was about to be done.
func (l *Log) Append(r Record) error {
	if !r.Kind.appendable() || r.Time.IsZero() {
		return &reason.Error{Code: reason.AuditWrongRecord, What: "append to " + l.path(logName),
			Expected: "a kind and a time", Found: fmt.Sprintf("kind %q at %v", r.Kind, r.Time)}
	}
	unlock, err := lock(l.dir, false)
	if err != nil {
		return err
	}
	defer unlock()
	f, h, err := l.end(r.Time)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = l.add(f, h, r)
	return err
}

// Close ends the use of the log. Nothing is buffered, so nothing can be lost.
func (l *Log) Close() error {
	clear(l.key)
	l.key = nil
	return nil
}

func (l *Log) path(name string) string {
	if name == logName {
		return l.dir + "/" + name
	}
	return l.headDir + "/" + name
}

// install begins a chain. The key comes last: without one, a log of nothing
// but an install record is an install that a crash cut short, and is begun
// anew; any longer log is one whose key was taken away.
func (l *Log) install(now time.Time) error {
	if old, err := os.ReadFile(l.path(headName)); err == nil {
		if peek(old) > 1 {
			return l.keyless()
		}
	}
	if f, err := file.Plain(l.path(logName), os.O_RDONLY); err == nil {
		raw, err := io.ReadAll(io.LimitReader(f, maxLine))
		f.Close()
		if err != nil {
			return unwritable("read "+l.path(logName), err)
		}
		text, rest, whole := bytes.Cut(raw, []byte("\n"))
		if p, err := parse(text); err != nil || p.Kind != Install || !whole || len(rest) > 0 {
			return l.keyless()
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return unwritable("open "+l.path(logName), err)
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails
	text, sum, err := encode(key, 1, firstPrev, Record{Time: now, Kind: Install})
	if err != nil {
		return unwritable("begin "+l.path(logName), err)
	}
	head := make([]byte, 2*slotSize)
	copy(head[slotSize:], Head{Seq: 1, Hash: sum, Size: int64(len(text))}.slot(key))
	for _, f := range []struct {
		dir, name string
		data      []byte
	}{
		{l.dir, logName, text},
		{l.headDir, headName, head},
		{l.headDir, keyName, []byte(hex.EncodeToString(key) + "\n")},
	} {
		if err := replace(f.dir, f.name, f.data); err != nil {
			return unwritable("begin "+l.path(f.name), err)
		}
	}
	l.key, l.start.First = key, true
	return nil
}

func (l *Log) keyless() error {
	return &reason.Error{Code: reason.AuditKeyAbsent, What: "open audit log " + l.dir,
		Expected: "the key of the records that are there", Found: "no " + l.path(keyName), Next: next}
}

// end opens the log for appending and returns the head, after mending what a
// crash may have left.
func (l *Log) end(now time.Time) (*os.File, Head, error) {
	if len(l.key) == 0 {
		return nil, Head{}, unwritable("append to "+l.path(logName), os.ErrClosed)
	}
	h, torn, err := readHead(l.path(headName), l.key)
	if err != nil {
		return nil, Head{}, err
	}
	f, err := file.Plain(l.path(logName), os.O_RDWR|os.O_APPEND)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, Head{}, &reason.Error{Code: reason.AuditLogAbsent, What: "open " + l.path(logName),
				Expected: fmt.Sprintf("%d records", h.Seq), Found: "no such file", Next: next}
		}
		return nil, Head{}, unwritable("open "+l.path(logName), err)
	}
	h, err = l.mend(f, h, torn, now)
	if err != nil {
		f.Close()
		return nil, Head{}, err
	}
	return f, h, nil
}

// mend checks the end of the log against the head.
func (l *Log) mend(f *os.File, h Head, torn bool, now time.Time) (Head, error) {
	bad := func(code reason.Code, want, got string) error {
		return &reason.Error{Code: code, What: "open " + l.path(logName), Expected: want, Found: got, Next: next}
	}
	st, err := f.Stat()
	if err != nil {
		return h, unwritable("stat "+l.path(logName), err)
	}
	if st.Size() < h.Size {
		return h, bad(reason.AuditTailCut, fmt.Sprintf("record %d at the end, %d bytes", h.Seq, h.Size),
			fmt.Sprintf("%d bytes", st.Size()))
	}
	last, err := lineBefore(f, h.Size)
	if err != nil {
		return h, unwritable("read "+l.path(logName), err)
	}
	if p, err := parse(last); err != nil || p.Seq != h.Seq || p.hash != h.Hash {
		return h, bad(reason.AuditEdited, fmt.Sprintf("record %d with hash %s", h.Seq, h.Hash), "another record in its place")
	}
	more := st.Size() - h.Size
	if more == 0 {
		if torn { // the slot is written only after the log
			return h, bad(reason.AuditHeadEdited, "two slots of the head", "one of them damaged")
		}
		return h, nil
	}
	raw := make([]byte, min(more, maxLine+1))
	if _, err := f.ReadAt(raw, h.Size); err != nil {
		return h, unwritable("read "+l.path(logName), err)
	}
	text, rest, whole := bytes.Cut(raw, []byte("\n"))
	if !whole {
		if more > maxLine {
			return h, bad(reason.AuditInserted, "at most one torn record", fmt.Sprintf("%d more bytes", more))
		}
		if err := f.Truncate(h.Size); err != nil {
			return h, unwritable("repair "+l.path(logName), err)
		}
		l.start.Cut += more
		return l.add(f, h, Record{Time: now, Kind: Repair, Path: l.path(logName),
			Found: fmt.Sprintf("%d bytes of a torn write after record %d", more, h.Seq)})
	}
	p, err := parse(text)
	switch {
	case err != nil || !p.genuine(l.key) || p.Seq != h.Seq+1 || p.Prev != h.Hash:
		return h, bad(reason.AuditInserted, fmt.Sprintf("record %d, or nothing", h.Seq+1), "a record that this host did not write there")
	case len(rest) > 0 || more > int64(len(raw)):
		return h, bad(reason.AuditLogAhead, fmt.Sprintf("at most record %d", h.Seq+1), fmt.Sprintf("%d more bytes", more-int64(len(text))-1))
	}
	ahead := Head{Seq: p.Seq, Hash: p.hash, Size: h.Size + more}
	if err := file.SyncData(f); err != nil {
		return h, unwritable("sync "+l.path(logName), err)
	}
	if err := writeHead(l.path(headName), l.key, ahead); err != nil {
		return h, unwritable("write "+l.path(headName), err)
	}
	l.start.Finished = true
	return ahead, nil
}

// add writes one record after the head.
func (l *Log) add(f *os.File, h Head, r Record) (Head, error) {
	text, sum, err := encode(l.key, h.Seq+1, h.Hash, r)
	if err != nil {
		return h, unwritable("append to "+l.path(logName), err)
	}
	if _, err = f.Write(text); err == nil {
		err = file.SyncData(f)
	}
	if err != nil {
		_ = f.Truncate(h.Size) // or else the next append does it
		return h, unwritable("append to "+l.path(logName), err)
	}
	h = Head{Seq: h.Seq + 1, Hash: sum, Size: h.Size + int64(len(text))}
	if err := writeHead(l.path(headName), l.key, h); err != nil {
		return h, unwritable("write "+l.path(headName), err)
	}
	return h, nil
}

// lineBefore returns the line that ends at offset end, without its newline;
// nothing where no line ends there.
func lineBefore(f *os.File, end int64) ([]byte, error) {
	for n := int64(4096); ; n = maxLine {
		n = min(n, end)
		raw := make([]byte, n)
		if _, err := f.ReadAt(raw, end-n); err != nil {
			return nil, err
		}
		raw, ok := bytes.CutSuffix(raw, []byte("\n"))
		i := bytes.LastIndexByte(raw, '\n')
		switch {
		case !ok:
			return nil, nil
		case i >= 0 || n == end || n == maxLine:
			return raw[i+1:], nil
		}
	}
}
