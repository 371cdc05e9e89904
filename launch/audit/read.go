package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Entry is one record as it stands in the log.
type Entry struct {
	Seq    uint64
	Hash   string
	Record Record
	Raw    json.RawMessage // the body, also what this version does not know of
}

// Read yields the records of the log in dir in the order of the file. It
// proves nothing: Verify does. A line that is no record ends the reading with
// an error; a torn last write is not yielded.
func Read(dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		name := dir + "/" + logName
		f, err := file.Plain(name, os.O_RDONLY)
		if errors.Is(err, os.ErrNotExist) {
			err = &reason.Error{Code: reason.AuditAbsent, What: "read " + name, Expected: "a log", Found: "none", Next: nextAbsent}
		} else if err != nil {
			err = &reason.Error{Code: reason.FileUnreadable, What: "read " + name, Err: err}
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer f.Close()
		r := bufio.NewReaderSize(f, maxLine)
		for n := 1; ; n++ {
			text, err := r.ReadSlice('\n')
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				yield(Entry{}, &reason.Error{Code: reason.FileUnreadable, What: "read " + name, Err: err})
				return
			}
			var e Entry
			if err == nil {
				e, err = entry(bytes.TrimSuffix(text, []byte("\n")))
			}
			if err != nil {
				yield(Entry{}, &reason.Error{Code: reason.AuditEdited, What: fmt.Sprintf("read %s: line %d", name, n),
					Expected: "a record", Found: err.Error(), Next: next})
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func entry(text []byte) (Entry, error) {
	l, err := parse(text)
	if err != nil {
		return Entry{}, err
	}
	var b body
	if err := json.Unmarshal(l.Body, &b); err != nil {
		return Entry{}, err
	}
	at, err := time.Parse(timeForm, l.Time)
	if err != nil {
		return Entry{}, err
	}
	r := Record{
		Time: at, Kind: l.Kind, Task: b.Task, Actor: b.Actor, Verb: b.Verb, Purpose: b.Purpose, Parts: b.Parts,
		Policy: b.Policy, Trust: b.Trust, Plan: b.Plan, Profile: b.Profile, Codes: b.Codes, Rule: b.Rule,
		Path: b.Path, Expected: b.Expected, Found: b.Found, Tier: b.Tier, Unsafe: b.Unsafe, Cause: b.Cause, Note: b.Note,
	}
	if b.Status != nil {
		r.Status = *b.Status
	}
	return Entry{Seq: l.Seq, Hash: l.hash, Record: r, Raw: l.Body}, nil
}
