package report

import (
	"fmt"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
)

// JUnit writes verdicts as JUnit XML, in the subset that every common reader takes
// (elements and attributes of Jenkins' xunit schema 10): a suite for each artifact, a
// case for each finding. A finding that denies is a failure whose type is the reason
// code, one that kept a verdict from being decided an error, one that was not asked
// for is skipped. No two cases of a file have the same class and name: some readers
// show only the first.
func JUnit(base string, all ...Verdict) string {
	var suites strings.Builder
	var sum tally
	seen := map[string]int{}
	for _, v := range whole(all) {
		sum.add(v.suite(&suites, base, seen))
	}
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	fmt.Fprintf(&b, "<testsuites name=\"ztlaunch\" tests=\"%d\" failures=\"%d\" errors=\"%d\">\n", sum.tests, sum.failures, sum.errors)
	b.WriteString(suites.String())
	b.WriteString("</testsuites>\n")
	return b.String()
}

// tally counts cases by how they ended.
type tally struct{ tests, failures, errors, skipped int }

func (t *tally) add(o tally) {
	t.tests += o.tests
	t.failures += o.failures
	t.errors += o.errors
	t.skipped += o.skipped
}

func (v Verdict) suite(b *strings.Builder, base string, seen map[string]int) tally {
	var cases strings.Builder
	var sum tally
	kind := v.Subject.Kind
	if kind == "" {
		kind = "artifact"
	}
	class := brief(kind + " " + undigested(v.Subject.Reference))
	testcase := func(f Finding, body string) {
		sum.tests++
		name := f.What
		if f.Rule != "" {
			name += " [" + f.Rule + "]"
		}
		name = brief(name)
		seen[class+"\x00"+name]++
		if n := seen[class+"\x00"+name]; n > 1 {
			name += fmt.Sprintf(" #%d", n)
		}
		fmt.Fprintf(&cases, "    <testcase classname=\"%s\" name=\"%s\"", quoted(class), quoted(name))
		if body == "" {
			cases.WriteString("/>\n")
			return
		}
		fmt.Fprintf(&cases, ">\n%s    </testcase>\n", body)
	}
	for _, f := range v.failed() {
		word := "failure"
		if v.Result != Denied {
			word, sum.errors = "error", sum.errors+1
		} else {
			sum.failures++
		}
		testcase(f, v.fault(word, base, f))
	}
	for _, f := range v.Findings {
		switch f.Result {
		case "pass":
			testcase(f, "")
		case "skip":
			sum.skipped++
			testcase(f, fmt.Sprintf("      <skipped message=\"%s\"/>\n", escaped(f.Found)))
		}
	}
	fmt.Fprintf(b, "  <testsuite name=\"%s\" tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\">\n", escaped(v.Subject.Reference), sum.tests, sum.failures, sum.errors, sum.skipped)
	v.properties(b, base)
	b.WriteString(cases.String())
	b.WriteString("  </testsuite>\n")
	return sum
}

// fault is the element that says why a case did not pass.
func (v Verdict) fault(word, base string, f Finding) string {
	var b strings.Builder
	message := v.Subject.Reference + ": " + f.What
	if f.Found != "" {
		message += ": " + f.Found
	}
	fmt.Fprintf(&b, "      <%s type=\"%s\" message=\"%s\">", word, escaped(f.Code), escaped(message))
	for _, row := range f.rows() {
		fmt.Fprintf(&b, "%s: %s\n", row[0], escaped(row[1]))
	}
	for _, p := range (item{v, f}).places() {
		file, _ := below(base, p.File)
		fmt.Fprintf(&b, "at: %s:%d\n", escaped(file), p.Line)
	}
	fmt.Fprintf(&b, "</%s>\n", word)
	return b.String()
}

func (v Verdict) properties(b *strings.Builder, base string) {
	rows := [][2]string{{"result", v.Result}, {"exit", fmt.Sprint(v.Exit)}, {"digest", v.Subject.Digest}, {"index", v.Subject.Index}}
	if v.Subject.Kind != artifact.Model.String() {
		rows = append(rows, [2]string{"platform", v.Subject.Platform})
	}
	if v.Named != nil {
		file, _ := below(base, v.Named.File)
		rows = append(rows, [2]string{"named", fmt.Sprintf("%s:%d", file, v.Named.Line)})
	}
	if v.Policy != nil {
		rows = append(rows, [2]string{"policy", v.Policy.Digest})
	}
	b.WriteString("    <properties>\n")
	for _, r := range rows {
		if r[1] != "" {
			fmt.Fprintf(b, "      <property name=\"%s\" value=\"%s\"/>\n", r[0], escaped(r[1]))
		}
	}
	b.WriteString("    </properties>\n")
}

// escaped is others' text for XML.
func escaped(s string) string { return quoted(brief(s)) }

// quoted is plain text for XML 1.0, in an attribute or between tags, without the two
// characters that XML has no way to write.
func quoted(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\"", "&quot;", "'", "&apos;", "\ufffe", "?", "\uffff", "?").Replace(s)
}
