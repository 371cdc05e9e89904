package audit

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

var day = time.Date(2026, 9, 1, 12, 0, 0, 123456789, time.UTC)

// TestMain is also the writer that the tests kill and the one whose disk is
// full: this same program, with its work in the environment.
func TestMain(m *testing.M) {
	switch os.Getenv("AUDIT_TEST") {
	case "append":
		write(os.Getenv("AUDIT_DIR"), 25)
	case "forever":
		write(os.Getenv("AUDIT_DIR"), 1<<30)
	case "full":
		full(os.Getenv("AUDIT_DIR"))
	}
	os.Exit(m.Run())
}

func write(root string, n int) {
	l, err := Open(root+"/audit", root+"/trust", day)
	for i := 0; i < n && err == nil; i++ {
		err = l.Append(Record{Time: day, Kind: Launch, Task: strings.Repeat("t", i%3000)})
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func self(t *testing.T, root, work string) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "AUDIT_TEST="+work, "AUDIT_DIR="+root)
	c.Stderr = os.Stderr
	return c
}

func open5(t *testing.T, root string) *Log {
	t.Helper()
	l := reopen(t, root)
	if !l.Start().First {
		t.Fatal("a first use is not called one")
	}
	for i := range 4 {
		r := Record{Time: day.Add(time.Duration(i) * time.Second), Kind: Launch, Task: "task-" + string(rune('a'+i))}
		if err := l.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func reopen(t *testing.T, root string) *Log {
	t.Helper()
	l, err := Open(root+"/audit", root+"/trust", day)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func verified(t *testing.T, root string) Report {
	t.Helper()
	r, err := Verify(root+"/audit", root+"/trust")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAppendAndRead(t *testing.T) {
	root := t.TempDir()
	l := reopen(t, root)
	want := Record{
		Time: day, Kind: Exit, Task: "t1", Actor: "uid 0", Verb: "run", Purpose: "run",
		Parts:  []Part{{Role: "image", Name: "registry.example/a", Digest: "sha256:aa", Tree: "sha256:bb", Signers: []string{"key <k>&"}}},
		Policy: "sha256:cc", Codes: []reason.Code{"x-y"}, Rule: "images[0]", Path: "/a\u2028b\n", Expected: "1", Found: "2",
		Tier: "sealed", Unsafe: []string{"unsafe-x"}, Cause: "exited", Status: 0, Note: "n",
	}
	if err := l.Append(want); err != nil {
		t.Fatal(err)
	}
	var got []Entry
	for e, err := range Read(root + "/audit") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != 2 || got[0].Record.Kind != Install || got[1].Seq != 2 {
		t.Fatalf("read back %+v", got)
	}
	if !bytes.Contains(got[1].Raw, []byte(`"status":0`)) {
		t.Errorf("an exit of 0 is not said: %s", got[1].Raw)
	}
	r := got[1].Record
	want.Time = want.Time.Truncate(time.Microsecond)
	if a, b := bodyOf(r, &clip{text: 1e6, list: 100}), bodyOf(want, &clip{text: 1e6, list: 100}); !r.Time.Equal(want.Time) || mustJSON(t, a) != mustJSON(t, b) {
		t.Errorf("read back\n%s\nwant\n%s", mustJSON(t, a), mustJSON(t, b))
	}
	rep := verified(t, root)
	if !rep.OK() || rep.Records != 2 || rep.Head.Seq != 2 || rep.Pending {
		t.Errorf("verify: %+v", rep)
	}
	if reopen(t, root).Start() != (Start{}) {
		t.Error("a second use is called a first one")
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWrongRecord(t *testing.T) {
	l := reopen(t, t.TempDir())
	for _, r := range []Record{{}, {Time: day}, {Kind: Launch}, {Time: day, Kind: Install}, {Time: day, Kind: "other"}} {
		if e, ok := reason.Of(l.Append(r)); !ok || e.Code != reason.AuditWrongRecord {
			t.Errorf("%+v: %v", r, e)
		}
	}
}

// A record is bounded whatever a hostile artifact puts into it, and never
// quotes a credential.
func TestClipAndBlank(t *testing.T) {
	root := t.TempDir()
	l := reopen(t, root)
	long := strings.Repeat("\x01", 1<<20)
	r := Record{Time: day, Kind: Denial, Path: long, Note: "bad \xff utf-8", Found: "https://joe:hunter2@registry.example/x",
		Expected: "Authorization: Bearer abcdefghijklmnop", Cause: "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"}
	for range 1000 {
		r.Parts = append(r.Parts, Part{Name: long, Signers: []string{long, long}, Role: "ghp_abcdefghijklmnopqrstuvwxyz"})
	}
	if err := l.Append(r); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(root + "/audit/host.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > maxLine {
		t.Errorf("a record of %d bytes", len(raw))
	}
	for _, s := range []string{"hunter2", "abcdefgh", "MIIE", "ghp_"} {
		if bytes.Contains(raw, []byte(s)) {
			t.Errorf("%q is in the log", s)
		}
	}
	for _, s := range []string{`"clipped":true`, "registry.example/x", "bad \uFFFD utf-8"} {
		if !bytes.Contains(raw, []byte(s)) {
			t.Errorf("%q is not in the log", s)
		}
	}
	if rep := verified(t, root); !rep.OK() {
		t.Errorf("verify: %+v", rep.Problems)
	}
}

// Twenty processes at once, and goroutines within one, make one chain.
func TestConcurrent(t *testing.T) {
	root := t.TempDir()
	var all []*exec.Cmd
	for range 20 {
		c := self(t, root, "append")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	l := reopen(t, root)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := l.Append(Record{Time: day, Kind: Exit}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rep := verified(t, root); !rep.OK() || rep.Records != 1+20*25+10 {
		t.Errorf("%d records, problems %v", rep.Records, rep.Problems)
	}
}

// Writers that are killed at any point leave a chain that verifies, or that
// the next start mends without loss of a record that was returned.
func TestKill(t *testing.T) {
	root := t.TempDir()
	mended := 0
	for i := range 60 {
		var c [2]*exec.Cmd
		for j := range c {
			c[j] = self(t, root, "forever")
			if err := c[j].Start(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(3+i*7%40) * time.Millisecond)
		for _, c := range c {
			c.Process.Kill()
		}
		for _, c := range c {
			c.Wait()
		}
		before := verified(t, root)
		for _, p := range before.Problems {
			if p.Code != reason.AuditTorn && p.Code != reason.AuditAbsent && p.Code != reason.AuditKeyAbsent {
				t.Fatalf("after kill %d: %v", i, p)
			}
		}
		if s := reopen(t, root).Start(); s.Finished || s.Cut > 0 {
			mended++
		}
		if after := verified(t, root); !after.OK() || after.Pending || after.Records < before.Records {
			t.Fatalf("after start %d: %+v, before %+v", i, after, before)
		}
	}
	t.Logf("%d records, %d of 60 starts had something to mend", verified(t, root).Records, mended)
}

func TestVerifyAbsent(t *testing.T) {
	for _, root := range []string{t.TempDir(), t.TempDir() + "/none"} {
		rep := verified(t, root)
		if rep.OK() || len(rep.Problems) != 1 || rep.Problems[0].Code != reason.AuditAbsent {
			t.Errorf("nothing at all: %+v", rep)
		}
	}
}

func TestBlankLeavesTheRest(t *testing.T) {
	for _, s := range []string{"sha256:" + strings.Repeat("a", 64), "https://token.actions.githubusercontent.com",
		"https://github.com/acme/agent/.github/workflows/release.yml@refs/tags/v1", "basic", "registry.example:5000/a@sha256:" + hex.EncodeToString(make([]byte, 32))} {
		if got := blank(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func BenchmarkOpenAppend(b *testing.B) {
	root := b.TempDir()
	for b.Loop() {
		l, err := Open(root+"/audit", root+"/trust", day)
		if err == nil {
			err = l.Append(Record{Time: day, Kind: Launch, Task: "t", Parts: []Part{{Role: "image", Name: "registry.example/agents/coder"}}})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	root := b.TempDir()
	l, err := Open(root+"/audit", root+"/trust", day)
	for i := 0; i < 2000 && err == nil; i++ {
		err = l.Append(Record{Time: day, Kind: Launch, Task: "t"})
	}
	for b.Loop() {
		if _, err = Verify(root+"/audit", root+"/trust"); err != nil {
			b.Fatal(err)
		}
	}
}
