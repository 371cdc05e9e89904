package main

import (
	"fmt"
	"strings"
	"testing"
)

// ev writes one event as test2json does.
func ev(action, pkg, test, output string) string {
	return fmt.Sprintf("{\"Action\":%q,\"Package\":%q,\"Test\":%q,\"Output\":%q}\n", action, pkg, test, output)
}

func TestSummary(t *testing.T) {
	skip := ev("run", "p", "TestS", "") + ev("output", "p", "TestS", "=== RUN   TestS\n") +
		ev("output", "p", "TestS", "    s_test.go:4: ZTLAUNCH_E2E: needs root\n") +
		ev("output", "p", "TestS", "--- SKIP: TestS (0.00s)\n") + ev("skip", "p", "TestS", "")
	pass := ev("run", "p", "TestA", "") + ev("output", "p", "TestA", "noise\n") + ev("pass", "p", "TestA", "")
	end := ev("output", "p", "", "PASS\n") + ev("output", "p", "", "ok  \tp\t0.1s\n") + ev("pass", "p", "", "")

	for name, c := range map[string]struct {
		events  string
		require bool
		ok      bool
		want    []string
		absent  []string
	}{
		"pass": {events: pass + end, ok: true, want: []string{"ok  \tp\t0.1s\n", "skipped: 0\n", "\n1 passed, 0 failed\n"}, absent: []string{"noise", "PASS"}},
		"skip is loud": {events: pass + skip + end, ok: true,
			want: []string{"skipped: 1\n", "  1: ZTLAUNCH_E2E: needs root\n      p TestS\n", "1 passed, 0 failed\n"}},
		"required skip fails": {events: pass + skip + end, require: true,
			want: []string{"FAIL: 1 skipped although ZTLAUNCH_E2E=require\n", "1 passed, 1 failed\n"}},
		"other skip is not required": {events: pass + strings.ReplaceAll(skip, "ZTLAUNCH_E2E", "IPv6") + end, require: true, ok: true,
			want: []string{"1: IPv6: needs root"}},
		"subtest counts, parent does not": {
			events: ev("run", "p", "T", "") + ev("run", "p", "T/x", "") + ev("pass", "p", "T/x", "") + ev("run", "p", "T/y", "") +
				ev("output", "p", "T/y", "boo\n") + ev("fail", "p", "T/y", "") + ev("fail", "p", "T", "") + ev("fail", "p", "", ""),
			want: []string{"boo\n", "1 passed, 1 failed\n"}},
		"parent that fails by itself counts": {
			events: ev("run", "p", "T", "") + ev("run", "p", "T/x", "") + ev("pass", "p", "T/x", "") +
				ev("output", "p", "T", "after\n") + ev("fail", "p", "T", "") + ev("fail", "p", "", ""),
			want: []string{"after\n", "1 passed, 1 failed\n"}},
		"package that fails outside a test": {events: pass + ev("output", "p", "", "FAIL\tp [build failed]\n") + ev("fail", "p", "", ""),
			want: []string{"FAIL\tp [build failed]\n", "FAIL: p: failed outside a test\n", "1 passed, 1 failed\n"}},
		"unfinished": {events: pass + ev("run", "p", "TestU", "") + ev("output", "p", "TestU", "panic: test timed out\n") +
			ev("output", "p", "", "FAIL\tp\t600s\n") + ev("fail", "p", "", ""),
			want: []string{"--- UNFINISHED: TestU\npanic: test timed out\n", "1 passed, 1 failed\n"}},
		"nothing ran":    {events: ev("skip", "p", "", ""), want: []string{"FAIL: no test ran\n", "0 passed, 0 failed\n"}},
		"not JSON":       {events: "go: downloading x\n" + pass + end, ok: true, want: []string{"go: downloading x\n"}},
		"no end of line": {events: strings.TrimSuffix(pass, "\n"), ok: true, want: []string{"1 passed, 0 failed\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			s, err := read(strings.NewReader(c.events), &out, c.require)
			if err != nil {
				t.Fatal(err)
			}
			s.print(&out)
			if s.ok() != c.ok {
				t.Errorf("ok = %v, want %v", s.ok(), c.ok)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			for _, absent := range c.absent {
				if strings.Contains(out.String(), absent) {
					t.Errorf("output has %q:\n%s", absent, out.String())
				}
			}
		})
	}
}
