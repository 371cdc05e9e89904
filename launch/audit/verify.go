package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Report is what Verify found.
type Report struct {
	Records  int    // genuine records, each counted once
	Head     Head   // how far the host's own head says the log goes
	Pending  bool   // the last record is ahead of the head, as a crash leaves it
	Intact   bool   // every record that is there is the one that was written, in its place
	Complete bool   // no record is missing from 1 to the head
	Lines    int    // lines read
	Last     string // the time of the last genuine record
	Problems []*reason.Error
}

// OK says that the log is intact and complete, and nothing else is amiss.
func (r Report) OK() bool { return r.Intact && r.Complete && len(r.Problems) == 0 }

// Verify reads the whole log and names what was done to it. It changes
// nothing. The error is for a log that cannot be read; tampering is in the
// report.
func Verify(dir, headDir string) (Report, error) {
	v := &verifier{name: dir + "/" + logName, followed: map[uint64]int{}}
	v.report.Intact, v.report.Complete = true, true
	if unlock, err := lock(dir, true); err == nil {
		defer unlock()
	} else if !errors.Is(err, os.ErrNotExist) {
		return Report{}, err
	}
	f, err := file.Plain(v.name, os.O_RDONLY)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Report{}, unwritable("open "+v.name, err)
	}
	logThere := err == nil
	key, err := readKey(headDir + "/" + keyName)
	keyThere := !errors.Is(err, os.ErrNotExist)
	if e, ok := reason.Of(err); ok {
		v.report.Problems = append(v.report.Problems, e)
	} else if err != nil && keyThere {
		return Report{}, unwritable("open "+headDir+"/"+keyName, err)
	}
	if !keyThere && !logThere {
		v.add(reason.AuditAbsent, "a log and its key", "neither")
		return v.report, nil
	}
	if !keyThere {
		v.add(reason.AuditKeyAbsent, "the key "+headDir+"/"+keyName, "no such file")
	}
	if key != nil {
		var torn bool
		v.report.Head, torn, err = readHead(headDir+"/"+headName, key)
		if e, ok := reason.Of(err); ok && e.Code == reason.AuditUnwritable {
			return Report{}, err
		} else if ok {
			v.report.Problems = append(v.report.Problems, e)
		}
		v.slot = torn
	}
	if !logThere {
		v.add(reason.AuditLogAbsent, fmt.Sprintf("%d records", v.report.Head.Seq), "no such file")
		return v.report, nil
	}
	defer f.Close()
	if err := v.read(f, key); err != nil {
		return Report{}, unwritable("read "+v.name, err)
	}
	v.judge(key)
	return v.report, nil
}

type verifier struct {
	name     string
	report   Report
	seqs     []uint64       // of the genuine records, in the order of the file
	followed map[uint64]int // how many lines that are not genuine come after genuine record N
	chained  int            // of those, lines that hash to what they say
	torn     int            // bytes after the last newline
	slot     bool           // the head's older slot is damaged
	heads    [2]string      // hashes of the records at the head and after it
}

func (v *verifier) add(code reason.Code, want, got string) {
	switch code {
	case reason.AuditTorn:
	case reason.AuditRemoved, reason.AuditStartCut, reason.AuditTailCut, reason.AuditLogAbsent, reason.AuditAbsent:
		v.report.Complete = false
	default:
		v.report.Intact = false
	}
	next := "keep the folder as evidence, then move it and its key and head away to begin a new chain"
	if code == reason.AuditAbsent {
		next = nextAbsent
	}
	v.report.Problems = append(v.report.Problems, &reason.Error{Code: code, What: "verify " + v.name, Expected: want, Found: got, Next: next})
}

func (v *verifier) read(f io.Reader, key []byte) error {
	r := bufio.NewReaderSize(f, maxLine)
	var last line
	for {
		text, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			v.torn = len(text)
			return nil
		}
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) { // skip the rest of it
			_, err = r.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		v.report.Lines++
		l, wrong := parse(bytes.TrimSuffix(text, []byte("\n")))
		if tooLong || wrong != nil || !l.genuine(key) {
			if wrong == nil {
				v.chained++
			}
			v.followed[last.Seq]++
			continue
		}
		if l.Seq == last.Seq+1 && last.Seq > 0 && l.Prev != last.hash {
			v.add(reason.AuditForked, fmt.Sprintf("record %d after %s", l.Seq, last.hash), "it was written after "+l.Prev)
		}
		if d := l.Seq - v.report.Head.Seq; d < 2 {
			v.heads[d] = l.hash
		}
		v.seqs, v.report.Last, last = append(v.seqs, l.Seq), l.Time, l
	}
}

// judge turns what was read into names.
func (v *verifier) judge(key []byte) {
	head := v.report.Head.Seq
	if key == nil {
		v.report.Intact, v.report.Complete = false, false // nothing could be proved
		return
	}
	if head == 0 {
		v.report.Complete = false // nobody knows where the log should end
	}
	if len(v.seqs) == 0 && v.report.Lines > 0 && v.chained == v.report.Lines {
		v.add(reason.AuditRebuilt, "records made with this host's key", fmt.Sprintf("%d records made with another", v.report.Lines))
		return
	}
	order := slices.Clone(v.seqs)
	slices.Sort(order)
	order = slices.Compact(order)
	v.report.Records = len(order)
	if n := len(v.seqs) - len(order); n > 0 {
		v.add(reason.AuditInserted, "each record once", fmt.Sprintf("%d more copies", n))
	}
	for i := 1; i < len(v.seqs); i++ {
		if v.seqs[i] < v.seqs[i-1] {
			if len(v.seqs) == len(order) {
				v.add(reason.AuditReordered, "records in the order of their numbers",
					fmt.Sprintf("record %d after record %d", v.seqs[i], v.seqs[i-1]))
			}
			break
		}
	}
	var last uint64
	if len(order) > 0 {
		last = order[len(order)-1]
	}
	v.gaps(append(order, max(last, head)+1))
	switch {
	case head > 0 && last > head+1:
		v.add(reason.AuditLogAhead, fmt.Sprintf("record %d or %d at the end", head, head+1), fmt.Sprintf("record %d", last))
	case head > 0 && last == head+1:
		v.report.Pending = true
	case v.slot:
		v.add(reason.AuditHeadEdited, "two slots of the head", "one of them damaged")
	}
	if v.heads[0] != "" && v.heads[0] != v.report.Head.Hash {
		v.add(reason.AuditForked, fmt.Sprintf("record %d with hash %s", head, v.report.Head.Hash), "another with hash "+v.heads[0])
	}
	if v.torn > 0 && last >= head {
		v.add(reason.AuditTorn, "a newline at the end", fmt.Sprintf("%d bytes of a record that was never acted on", v.torn))
		v.report.Problems[len(v.report.Problems)-1].Next = "nothing: the next start of ztlaunch cuts them off and records it"
	}
}

// gaps holds the numbers of the genuine records, and the one after the end,
// against the lines between them that are not genuine.
func (v *verifier) gaps(order []uint64) {
	var a uint64
	for i, b := range order {
		missing, strange := int(min(b-a-1, 1<<40)), v.followed[a]
		if n := min(missing, strange); n > 0 {
			v.add(reason.AuditEdited, fmt.Sprintf("record %d as it was written", a+1),
				fmt.Sprintf("%d lines with another content", n))
		}
		if strange > missing {
			v.add(reason.AuditInserted, fmt.Sprintf("nothing between records %d and %d", a, b),
				fmt.Sprintf("%d lines that this host did not write", strange-missing))
		}
		if missing > strange {
			code := reason.AuditRemoved
			switch {
			case i == len(order)-1:
				code = reason.AuditTailCut
			case a == 0:
				code = reason.AuditStartCut
			}
			v.add(code, fmt.Sprintf("records %d to %d", a+1, b-1), fmt.Sprintf("%d of them missing", missing-strange))
		}
		a = b
	}
}

// peek reads the higher number in a head whose key is gone.
func peek(raw []byte) uint64 {
	var seq uint64
	for _, part := range bytes.Split(raw, []byte("\n")) {
		var h struct{ Seq uint64 }
		if json.Unmarshal(bytes.Trim(part, "\x00"), &h) == nil {
			seq = max(seq, h.Seq)
		}
	}
	return seq
}
