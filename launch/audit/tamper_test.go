package audit

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// chain is a log on disk that a test does something to.
type chain struct {
	t    *testing.T
	root string
}

func (c chain) file(name string) string {
	if name == logName {
		return c.root + "/audit/" + name
	}
	return c.root + "/trust/" + name
}

func (c chain) read(name string) []byte {
	c.t.Helper()
	raw, err := os.ReadFile(c.file(name))
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

func (c chain) write(name string, data []byte) {
	c.t.Helper()
	if err := os.WriteFile(c.file(name), data, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c chain) remove(names ...string) {
	c.t.Helper()
	for _, n := range names {
		if err := os.Remove(c.file(n)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// lines changes the log as a list of lines.
func (c chain) lines(change func([]string) []string) {
	c.t.Helper()
	c.write(logName, []byte(strings.Join(change(strings.SplitAfter(string(c.read(logName)), "\n")), "")))
}

// forge is what somebody without the key can do: a record whose hash is right.
func forge(seq uint64, prev, task string) string {
	text, _, err := encode(make([]byte, 32), seq, prev, Record{Time: day, Kind: Launch, Task: task})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TestTamper does one thing to a log of five records and expects its name from
// Verify. Where the end of the log shows it, opening is refused as well.
func TestTamper(t *testing.T) {
	old := struct{ log, head []byte }{}
	cases := []struct {
		name string
		do   func(c chain)
		want reason.Code
		open reason.Code // "" opens: only Verify reads the middle
		also []reason.Code
	}{
		{"edit", func(c chain) {
			c.write(logName, bytes.Replace(c.read(logName), []byte("task-b"), []byte("task-x"), 1))
		}, reason.AuditEdited, "", nil},
		{"edit-last", func(c chain) {
			c.write(logName, bytes.Replace(c.read(logName), []byte("task-d"), []byte("task-x"), 1))
		}, reason.AuditEdited, reason.AuditEdited, nil},
		{"edit-and-rehash", func(c chain) {
			c.lines(func(l []string) []string {
				p, _ := parse([]byte(strings.TrimSpace(l[1])))
				l[2] = forge(3, p.hash, "task-b")
				return l
			})
		}, reason.AuditEdited, "", nil},
		{"edit-last-and-rehash", func(c chain) {
			c.lines(func(l []string) []string {
				p, _ := parse([]byte(strings.TrimSpace(l[3])))
				l[4] = forge(5, p.hash, "task-x")
				return l
			})
		}, reason.AuditEdited, reason.AuditEdited, nil},
		{"blank-line-edit", func(c chain) {
			c.lines(func(l []string) []string { l[2] = "\n"; return l })
		}, reason.AuditEdited, reason.AuditTailCut, nil},
		{"edit-space", func(c chain) { // the same JSON, other bytes
			c.write(logName, bytes.Replace(c.read(logName), []byte(`"task":"task-b"`), []byte(`"task": "task-b"`), 1))
		}, reason.AuditEdited, reason.AuditEdited, nil},
		{"insert", func(c chain) {
			c.lines(func(l []string) []string {
				p, _ := parse([]byte(strings.TrimSpace(l[1])))
				return slices.Insert(l, 2, forge(3, p.hash, "x"))
			})
		}, reason.AuditInserted, reason.AuditEdited, nil},
		{"insert-copy", func(c chain) {
			c.lines(func(l []string) []string { return slices.Insert(l, 4, l[2]) })
		}, reason.AuditInserted, reason.AuditEdited, nil},
		{"insert-at-end", func(c chain) {
			c.lines(func(l []string) []string {
				p, _ := parse([]byte(strings.TrimSpace(l[4])))
				return append(l, forge(6, p.hash, "x"))
			})
		}, reason.AuditInserted, reason.AuditInserted, nil},
		{"insert-long-line", func(c chain) {
			c.lines(func(l []string) []string { return slices.Insert(l, 3, strings.Repeat("x", 3*maxLine)+"\n") })
		}, reason.AuditInserted, reason.AuditEdited, nil},
		{"remove", func(c chain) {
			c.lines(func(l []string) []string { return slices.Delete(l, 2, 3) })
		}, reason.AuditRemoved, reason.AuditTailCut, nil},
		{"remove-and-rechain", func(c chain) {
			c.lines(func(l []string) []string {
				p, _ := parse([]byte(strings.TrimSpace(l[1])))
				l[2] = forge(3, p.hash, "task-c")
				return slices.Delete(l, 3, 4)
			})
		}, reason.AuditEdited, reason.AuditTailCut, []reason.Code{reason.AuditRemoved}},
		{"reorder", func(c chain) {
			c.lines(func(l []string) []string { l[2], l[3] = l[3], l[2]; return l })
		}, reason.AuditReordered, "", nil},
		{"cut-start", func(c chain) {
			c.lines(func(l []string) []string { return l[2:] })
		}, reason.AuditStartCut, reason.AuditTailCut, nil},
		{"cut-tail", func(c chain) {
			c.lines(func(l []string) []string { return l[:3] })
		}, reason.AuditTailCut, reason.AuditTailCut, nil},
		{"cut-last", func(c chain) {
			c.lines(func(l []string) []string { return l[:4] })
		}, reason.AuditTailCut, reason.AuditTailCut, nil},
		{"cut-within", func(c chain) {
			raw := c.read(logName)
			c.write(logName, raw[:len(raw)-10])
		}, reason.AuditTailCut, reason.AuditTailCut, nil},
		{"emptied", func(c chain) { c.write(logName, nil) }, reason.AuditTailCut, reason.AuditTailCut, nil},
		{"torn", func(c chain) {
			c.write(logName, append(c.read(logName), `{"seq":6,"time":"20`...))
		}, reason.AuditTorn, "", nil},
		{"log-deleted", func(c chain) { c.remove(logName) }, reason.AuditLogAbsent, reason.AuditLogAbsent, nil},
		{"head-deleted", func(c chain) { c.remove(headName) }, reason.AuditHeadAbsent, reason.AuditHeadAbsent, nil},
		{"log-and-head-deleted", func(c chain) { c.remove(logName, headName) }, reason.AuditHeadAbsent, reason.AuditHeadAbsent,
			[]reason.Code{reason.AuditLogAbsent}},
		{"key-deleted", func(c chain) { c.remove(keyName) }, reason.AuditKeyAbsent, reason.AuditKeyAbsent, nil},
		{"key-and-head-deleted", func(c chain) { c.remove(keyName, headName) }, reason.AuditKeyAbsent, reason.AuditKeyAbsent, nil},
		{"key-and-log-deleted", func(c chain) { c.remove(keyName, logName) }, reason.AuditAbsent, reason.AuditKeyAbsent, nil},
		{"key-edited", func(c chain) { c.write(keyName, []byte("00\n")) }, reason.AuditKeyAbsent, reason.AuditKeyAbsent, nil},
		{"key-exposed", func(c chain) {
			if err := os.Chmod(c.file(keyName), 0o644); err != nil {
				t.Fatal(err)
			}
		}, reason.AuditKeyExposed, reason.AuditKeyExposed, nil},
		{"head-edited", func(c chain) {
			c.write(headName, bytes.ReplaceAll(c.read(headName), []byte(`"seq"`), []byte(`"Seq"`)))
		}, reason.AuditHeadEdited, reason.AuditHeadEdited, nil},
		{"head-slot-blanked-and-cut", func(c chain) { // a record back without an old copy of the head
			raw := c.read(headName)
			clear(raw[slotSize:]) // record 5 is odd
			c.write(headName, raw)
			c.lines(func(l []string) []string { return l[:4] })
		}, reason.AuditHeadEdited, reason.AuditHeadEdited, nil},
		{"head-slot-torn-and-cut", func(c chain) {
			raw := c.read(headName)
			raw[slotSize+20] ^= 1
			c.write(headName, raw)
			c.lines(func(l []string) []string { return l[:4] })
		}, reason.AuditHeadEdited, reason.AuditHeadEdited, nil},
		{"head-rolled-back", func(c chain) { c.write(headName, old.head) }, reason.AuditLogAhead, reason.AuditLogAhead, nil},
		{"fork", func(c chain) { // two histories of one key, glued where they part
			now := c.read(logName)
			head := c.read(headName)
			c.write(logName, old.log)
			c.write(headName, old.head)
			l := reopen(c.t, c.root)
			if err := l.Append(Record{Time: day, Kind: Exit, Task: "other"}); err != nil {
				t.Fatal(err)
			}
			other := bytes.SplitAfter(c.read(logName), []byte("\n"))
			mine := bytes.SplitAfter(now, []byte("\n"))
			c.write(logName, bytes.Join(append(other[:4], mine[4]), nil))
			c.write(headName, head)
		}, reason.AuditForked, reason.AuditEdited, nil},
		{"rebuild", func(c chain) {
			var out, prev = "", firstPrev
			for i := range 5 {
				text := forge(uint64(i+1), prev, "x")
				p, _ := parse([]byte(strings.TrimSpace(text)))
				out, prev = out+text, p.hash
			}
			c.write(logName, []byte(out))
		}, reason.AuditRebuilt, reason.AuditTailCut, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := chain{t, t.TempDir()}
			l := reopen(t, c.root)
			for i := range 4 {
				if i == 2 { // three records: what an attacker may have kept
					old.log, old.head = c.read(logName), c.read(headName)
				}
				if err := l.Append(Record{Time: day, Kind: Launch, Task: "task-" + string(rune('a'+i))}); err != nil {
					t.Fatal(err)
				}
			}
			if rep := verified(t, c.root); !rep.OK() || rep.Records != 5 {
				t.Fatalf("before: %+v", rep)
			}
			tc.do(c)
			rep := verified(t, c.root)
			var got []reason.Code
			for _, p := range rep.Problems {
				got = append(got, p.Code)
				if p.Expected == "" || p.Found == "" || p.Next == "" {
					t.Errorf("%s: does not say enough", p)
				}
			}
			want := append([]reason.Code{tc.want}, tc.also...)
			if rep.OK() || !slices.Equal(got, want) {
				t.Errorf("verify says %v (intact %v, complete %v), want %v", got, rep.Intact, rep.Complete, want)
			}
			_, err := Open(c.root+"/audit", c.root+"/trust", day)
			if e, _ := reason.Of(err); (tc.open == "") != (err == nil) || err != nil && e.Code != tc.open {
				t.Errorf("open says %v, want %q", err, tc.open)
			}
		})
	}
}

// A crash leaves the log one record ahead of its head, with the head's other
// slot whole or torn; the next start takes the record over.
func TestOneAhead(t *testing.T) {
	for _, torn := range []bool{false, true} {
		c := chain{t, t.TempDir()}
		l := open5(t, c.root)
		before := c.read(headName)
		if err := l.Append(Record{Time: day, Kind: Exit, Task: "sixth"}); err != nil {
			t.Fatal(err)
		}
		if torn {
			before[20] ^= 1 // slot 0, where record 6 was going
		}
		c.write(headName, before)
		if rep := verified(t, c.root); !rep.OK() || !rep.Pending || rep.Records != 6 {
			t.Errorf("torn %v: verify: %+v", torn, rep)
		}
		if l := reopen(t, c.root); !l.Start().Finished {
			t.Errorf("torn %v: not said to be mended: %+v", torn, l.Start())
		}
		if rep := verified(t, c.root); !rep.OK() || rep.Pending || rep.Head.Seq != 6 {
			t.Errorf("torn %v: after: %+v", torn, rep)
		}
	}
}

// A torn write is cut off, and the cut is on record.
func TestTornIsRecorded(t *testing.T) {
	c := chain{t, t.TempDir()}
	open5(t, c.root)
	c.write(logName, append(c.read(logName), `{"seq":6,"ti`...))
	if s := reopen(t, c.root).Start(); s.Cut != 12 {
		t.Errorf("start says %+v", s)
	}
	var last Entry
	for e, err := range Read(c.root + "/audit") {
		if err != nil {
			t.Fatal(err)
		}
		last = e
	}
	if last.Seq != 6 || last.Record.Kind != Repair || !strings.Contains(last.Record.Found, "12 bytes") {
		t.Errorf("the last record is %+v", last)
	}
	if rep := verified(t, c.root); !rep.OK() {
		t.Errorf("after: %v", rep.Problems)
	}
}

// An install that was cut short at any point is begun anew, and says so.
func TestInstallCutShort(t *testing.T) {
	for _, gone := range [][]string{{keyName}, {keyName, headName}, {keyName, headName, logName}} {
		c := chain{t, t.TempDir()}
		reopen(t, c.root)
		c.remove(gone...)
		if l := reopen(t, c.root); !l.Start().First {
			t.Errorf("without %v: not called a first use", gone)
		}
		if rep := verified(t, c.root); !rep.OK() {
			t.Errorf("without %v: %v", gone, rep.Problems)
		}
	}
}

// A log of one record that is no install is not begun anew without its key.
func TestInstallKeepsOthers(t *testing.T) {
	for _, text := range []string{forge(1, firstPrev, "a"), "", "notes\n", strings.TrimSpace(forge(1, firstPrev, "a"))} {
		c := chain{t, t.TempDir()}
		if err := os.MkdirAll(c.root+"/audit", 0o700); err != nil {
			t.Fatal(err)
		}
		c.write(logName, []byte(text))
		_, err := Open(c.root+"/audit", c.root+"/trust", day)
		if e, ok := reason.Of(err); !ok || e.Code != reason.AuditKeyAbsent {
			t.Errorf("%q: %v", text, err)
		}
		if got := c.read(logName); string(got) != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// There is one way to write a record, also for who can hash.
func TestParseStrict(t *testing.T) {
	good := strings.TrimSpace(forge(1, firstPrev, "a"))
	head := good[:len(good)-trailer]
	line := func(head string) []byte {
		return []byte(head + `,"hash":"` + hashOf([]byte(head)) + `","mac":"` + firstPrev + `"}`)
	}
	if _, err := parse(line(head)); err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]string{
		{`"seq":1`, `"seq": 1`}, {`"seq":1`, `"seq":1,"seq":1`}, {`"seq":1`, `"Seq":1`}, {`"seq":1`, `"seq":1.0`},
		{`{"task":"a"}`, `{"task":"a"},"more":1`}, {`{"task":"a"}`, `[]`}, {`{"task":"a"}`, `{"task":"\u0061\/"} `},
		{`"kind":"launch"`, `"kind":"Launch"`}, {`"prev":"0`, `"prev":"G`}, {`12:00:00.123456Z`, `12:00:00Z`},
		{`2026-09-01`, `2026-13-01`}, {`{"seq"`, ` {"seq"`},
	} {
		if !strings.Contains(head, r[0]) {
			t.Fatal(r)
		}
		if _, err := parse(line(strings.Replace(head, r[0], r[1], 1))); err == nil {
			t.Errorf("%s for %s is taken", r[1], r[0])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(strings.TrimSpace(forge(1, firstPrev, "a"))))
	f.Add([]byte(strings.Replace(strings.TrimSpace(forge(7, firstPrev, "b")), `"seq"`, `"Seq"`, 1)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := parse(raw)
		if err != nil {
			return
		}
		head, err := canonical(l.envelope)
		if err != nil {
			t.Fatal(err)
		}
		again := string(head[:len(head)-1]) + `,"hash":"` + l.hash + `","mac":"` + l.mac + `"}`
		if again != string(raw) {
			t.Fatalf("two lines for one record:\n%s\n%s", raw, again)
		}
	})
}

func FuzzSlot(f *testing.F) {
	key := make([]byte, 32)
	page := make([]byte, slotSize)
	copy(page, Head{Seq: 1, Hash: firstPrev, Size: 5}.slot(key))
	f.Add(page)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if h, err := parseSlot(raw, key); err == nil && h.Seq > 0 && !bytes.HasPrefix(raw, h.slot(key)) {
			t.Fatalf("a head that was not written: %q", raw)
		}
	})
}
