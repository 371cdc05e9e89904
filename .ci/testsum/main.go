// Testsum reads what `go test -json` writes (cmd/test2json's events, one JSON
// object a line) and prints what a person wants of it: go test's ordinary lines
// for each package, the whole output of tests that failed and of packages that
// did not build, then every skipped test under its reason, and last
//
//	skipped: N
//	N passed, N failed
//
// A skip is a test that did not run, so it is never silent. Where
// ZTLAUNCH_E2E=require is set, a skip whose reason names ZTLAUNCH_E2E is a failure:
// that machine promised that it can run them. A test is a leaf: one with subtests
// counts through them.
//
// It does not run tests and does not see go test's exit code: the caller's
// pipefail does. It exits 1 when a test or a build failed, when a required test
// skipped, and when no test ran at all.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of test2json's output.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// name identifies a test, or with an empty test the package itself.
type name struct{ pkg, test string }

// summary is what one run came to.
type summary struct {
	passed, failed int
	broken         []string            // packages that failed outside a test: build, TestMain, exit
	skipped        map[string][]string // reason to the tests that gave it
	required       int                 // skips that ZTLAUNCH_E2E=require makes failures
}

func (s summary) ok() bool {
	return s.failed == 0 && len(s.broken) == 0 && s.required == 0 && s.passed > 0
}

func main() {
	s, err := read(os.Stdin, os.Stdout, os.Getenv("ZTLAUNCH_E2E") == "require")
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	s.print(os.Stdout)
	if !s.ok() {
		os.Exit(1)
	}
}

// read copies the lines worth reading to w and counts the rest. Lines that are
// not JSON (a build tool's own words) are copied as they are.
func read(r io.Reader, w io.Writer, require bool) (summary, error) {
	s := summary{skipped: map[string][]string{}}
	c := counter{said: map[name][]string{}, parent: map[name]bool{}, failing: map[name]bool{}, require: require}

	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		var e event
		switch {
		case strings.TrimSpace(line) == "":
		case json.Unmarshal([]byte(line), &e) != nil:
			fmt.Fprint(w, line)
		default:
			c.take(e, w, &s)
		}
		switch {
		case errors.Is(err, io.EOF):
			return s, nil
		case err != nil:
			return s, fmt.Errorf("read events: %w", err)
		}
	}
}

// counter is what has to be remembered between events.
type counter struct {
	said    map[name][]string // output of tests that are not over
	parent  map[name]bool     // tests with subtests
	failing map[name]bool     // tests and packages with a failure counted below them
	require bool
}

func (c counter) take(e event, w io.Writer, s *summary) {
	n := name{e.Package, e.Test}
	if i := strings.LastIndex(e.Test, "/"); i > 0 {
		c.parent[name{e.Package, e.Test[:i]}] = true
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "output":
		if e.Test != "" {
			c.said[n] = append(c.said[n], e.Output)
		} else if e.Output != "PASS\n" { // verbose mode's, which says nothing that the ok line does not
			fmt.Fprint(w, e.Output)
		}
	case "pass":
		if e.Test != "" && !c.parent[n] {
			s.passed++
		}
		delete(c.said, n)
	case "fail":
		if e.Test == "" {
			c.unfinished(e.Package, w)
		}
		fmt.Fprint(w, strings.Join(c.said[n], ""))
		delete(c.said, n)
		if c.failing[n] {
			return
		}
		if e.Test == "" {
			s.broken = append(s.broken, e.Package)
			return
		}
		s.failed++
		for at := e.Test; at != ""; {
			at = at[:max(0, strings.LastIndex(at, "/"))]
			c.failing[name{e.Package, at}] = true
		}
	case "skip":
		if e.Test == "" {
			return // a package without tests
		}
		why := reason(c.said[n])
		s.skipped[why] = append(s.skipped[why], e.Package+" "+e.Test)
		if c.require && strings.Contains(why, "ZTLAUNCH_E2E") {
			s.required++
		}
		delete(c.said, n)
	}
}

// unfinished prints what tests said that were still running when their package's
// process ended: a deadline, a crash and os.Exit look like that.
func (c counter) unfinished(pkg string, w io.Writer) {
	var running []string
	for n := range c.said {
		if n.pkg == pkg {
			running = append(running, n.test)
		}
	}
	slices.Sort(running)
	for _, test := range running {
		fmt.Fprintf(w, "--- UNFINISHED: %s\n%s", test, strings.Join(c.said[name{pkg, test}], ""))
		delete(c.said, name{pkg, test})
	}
}

// reason is what the test said when it skipped, without go test's framing: the
// lines between === RUN and --- SKIP, less the file and line number.
func reason(lines []string) string {
	var words []string
	for _, line := range lines {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- SKIP") {
			continue
		}
		if file, rest, ok := strings.Cut(text, ": "); ok && strings.Contains(file, ".go:") {
			text = rest
		}
		words = append(words, text)
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

func (s summary) print(w io.Writer) {
	count := 0
	for _, tests := range s.skipped {
		count += len(tests)
	}
	fmt.Fprintf(w, "\nskipped: %d\n", count)
	reasons := make([]string, 0, len(s.skipped))
	for why := range s.skipped {
		reasons = append(reasons, why)
	}
	slices.Sort(reasons)
	for _, why := range reasons {
		fmt.Fprintf(w, "  %d: %s\n", len(s.skipped[why]), why)
		for _, test := range s.skipped[why] {
			fmt.Fprintf(w, "      %s\n", test)
		}
	}
	if s.required > 0 {
		fmt.Fprintf(w, "FAIL: %d skipped although ZTLAUNCH_E2E=require\n", s.required)
	}
	for _, pkg := range s.broken {
		fmt.Fprintf(w, "FAIL: %s: failed outside a test\n", pkg)
	}
	if s.passed == 0 {
		fmt.Fprintln(w, "FAIL: no test ran")
	}
	fmt.Fprintf(w, "%d passed, %d failed\n", s.passed, s.failed+len(s.broken)+s.required)
}
