package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const base = "/home/user/project"

// several is one verdict of each result, named in the project's lock but for the
// last, and one that a lock does not agree with.
func several(t *testing.T) []Verdict {
	t.Helper()
	all := cases()
	out := []Verdict{all["allowed"](t).At(base+"/ztlaunch.lock", 4), all["unsigned"](t).At(base+"/ztlaunch.lock", 19), all["undecided"](t).At(base+"/sub/agent.yaml", 1)}
	moved := all["allowed"](t).At(base+"/ztlaunch.lock", 33).Refused(&reason.Error{Code: reason.TagMoved, What: "compare with the lock", Expected: "sha256:aa", Found: "sha256:bb", Next: "ztlaunch lock --update NAME"})
	return append(out, moved, all["unlisted"](t))
}

// TestGoldenViews holds each view of several verdicts against its golden file.
func TestGoldenViews(t *testing.T) {
	all := several(t)
	for _, format := range Formats() {
		raw, err := View(format, base, all...)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "several."+format, raw)
	}
	golden(t, "several.summary", []byte(Summary(MaxSummary, all...)))
	if _, err := View("html", base, all...); err == nil || !strings.Contains(err.Error(), "sarif, junit, github") {
		t.Errorf("a view that is not there: %v", err)
	}
}

// bad are words that a name, a label or a file of somebody else's may hold.
var bad = []string{
	"a\n::set-output name=x::y", "a\r\n::error::b", "::add-mask::a", "##[command]x", "###[set-env name=A]b", "##vso[task.setvariable variable=a]b",
	"]]>", "<![CDATA[", "</failure>", "\"/><x a='", "&amp;&lt;", "\x00\x01\x0b\x1b[31mred", "\ufffe\uffff", "\xff\xfe", "\u202eabc\u2028\u2029",
	"%0A::error::c", "%25", "file=a,line=1::b", "[a](https://evil.example)", "{0} {", "}}", "@owner #1", "</code></td></table>\n\n# head", "`a` | b", "\u00e9\u65e5\u672c",
	strings.Repeat("long ", 2000), strings.Repeat("\u65e5", 2000),
}

// dirty is a denied, an undecided and an allowed verdict that consist of hostile
// words.
func dirty(s string) []Verdict {
	f := Finding{Result: "fail", Rule: s, Line: 3, What: s, Code: string(reason.SBOMFileUnlisted), Class: "denied", Expected: s, Found: s, Next: s, Signers: []string{s}}
	v := Verdict{Schema: Schema, Result: Denied, Exit: 1, Subject: Subject{Reference: s, Name: s, Kind: "image", Platform: s, Digest: s},
		Policy: &Policy{Path: base + "/" + s, Digest: s}, Findings: []Finding{f, f, {Result: "pass", What: s, Found: s}, {Result: "skip", What: s, Found: s}}}
	u := Failed(s, &reason.Error{Code: reason.EvidenceUnreached, What: s, Expected: s, Found: s, Next: s, Err: errors.New(s)})
	ok := Verdict{Schema: Schema, Result: Allowed, Subject: Subject{Reference: s}, Findings: []Finding{{Result: "pass", What: s}}}
	return []Verdict{v, v.At(base+"/"+s, 7), u, ok}
}

// TestHostileWords: whatever the words are, each view stays what it is, and says
// nothing that nobody said. (N52)
func TestHostileWords(t *testing.T) {
	commands := regexp.MustCompile(`^::error (file=[^,]*,line=[0-9]+,)?title=[^:,]*::`)
	for _, s := range bad {
		all := dirty(s)
		raw, err := SARIF(base, all...)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		checkSARIF(t, raw)
		if got := len(readXML(t, JUnit(base, all...)).Suites); got != len(all) {
			t.Errorf("%.100q: %d suites", s, got)
		}
		lines := strings.Split(strings.TrimSuffix(GitHub(base, all...), "\n"), "\n")
		if len(lines) != 6 { // two of each denied verdict, one undecided, and the count
			t.Errorf("%.100q: %d lines: %.300q", s, len(lines), lines)
		}
		for i, l := range lines[:len(lines)-1] {
			if !commands.MatchString(l) || strings.Contains(l, "##") || strings.ContainsAny(l, "\x00\x1b\r") {
				t.Errorf("%.100q: line %d is %.300q", s, i, l)
			}
		}
		f := all[0].failed()[0]
		want := brief(f.What)
		for _, row := range f.rows() {
			want += "\n" + row[0] + ": " + row[1]
		}
		// As the runner reads it: the message follows the first "::" after the command.
		_, said, _ := strings.Cut(strings.TrimPrefix(lines[0], "::error "), "::")
		if said = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%25", "%").Replace(said); said != want {
			t.Errorf("%.100q: the runner reads %.300q, want %.300q", s, said, want)
		}
		summary := Summary(MaxSummary, all...)
		if strings.Count(summary, "\n\n") != 3 || strings.Count(summary, "<table>") != 2 || strings.Count(summary, "</table>") != 2 {
			t.Errorf("%.100q: the summary is %q", s, summary)
		}
		for _, format := range Formats() {
			raw, err := View(format, base, all...)
			if err != nil || strings.Contains(string(raw), "##") || strings.Contains(string(raw), "\n::") && format != "github" {
				t.Errorf("%.100q: %s is %v: %.300q", s, format, err, raw)
			}
		}
		if raw, err := JSON(all[0]); err != nil || read(t, raw).Findings[0].Found != string([]rune(s)) {
			t.Errorf("%.100q: JSON reads back as %.300q, %v", s, raw, err)
		}
		for _, l := range strings.Split(Text(all...), "\n") {
			if strings.HasPrefix(strings.TrimSpace(l), "::") || strings.Contains(l, "##") {
				t.Errorf("%.100q: text has the line %q", s, l)
			}
		}
	}
}

// TestSARIF holds the SARIF view of each case and of several against what the
// standard and code scanning demand.
func TestSARIF(t *testing.T) {
	for name, make := range cases() {
		v := make(t)
		raw, err := SARIF(base, v)
		if err != nil {
			t.Fatal(err)
		}
		if results := checkSARIF(t, raw); (len(results) > 0) != (v.Exit != 0) {
			t.Errorf("%s: exit %d and %d results", name, v.Exit, len(results))
		}
	}
	raw, err := SARIF(base, several(t)...)
	if err != nil {
		t.Fatal(err)
	}
	var at []string
	for _, r := range checkSARIF(t, raw) {
		at = append(at, fmt.Sprintf("%s %s:%d", r.RuleID, r.Locations[0].Physical.Artifact.URI, r.Locations[0].Physical.Region.StartLine))
	}
	want := []string{"signature-absent ztlaunch.lock:19", "sbom-absent ztlaunch.lock:19", "evidence-unreachable sub/agent.yaml:1", "tag-moved ztlaunch.lock:33", "sbom-file-unlisted file:///etc/ztlaunch/policy.yaml:2"}
	if !slices.Equal(at, want) {
		t.Errorf("results at %q, want %q", at, want)
	}
}

// TestFingerprints: an alert stays the same alert when lines move, time goes on, the
// artifact is built anew or other findings come; two alerts are never one.
func TestFingerprints(t *testing.T) {
	prints := func(all ...Verdict) (out []string) {
		raw, err := SARIF(base, all...)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range checkSARIF(t, raw) {
			out = append(out, r.Fingerprints["primaryLocationLineHash"])
		}
		return out
	}
	v := cases()["unsigned"](t)
	was := prints(v)
	later := v.At(base+"/ztlaunch.lock", 900)
	later.Time, later.Subject.Digest, later.Subject.Reference = "2030-01-01T00:00:00Z", "sha256:other", v.Subject.Reference+"@sha256:"+strings.Repeat("a", 64)
	later.Findings = slices.Clone(v.Findings)
	for i := range later.Findings {
		later.Findings[i].Line += 7
		later.Findings[i].Found = "something else"
	}
	if got := prints(later); !slices.Equal(got, was) {
		t.Errorf("later %q, before %q", got, was)
	}
	other := v
	other.Subject.Reference = "registry.example/agents/other:1"
	all := prints(v, v, other)
	if slices.Sort(all); len(slices.Compact(all)) != 3*len(was) {
		t.Errorf("not distinct: %q", all)
	}
}

// TestLimits: what a reader would drop without a word is counted and said, and each
// artifact keeps a failure.
func TestLimits(t *testing.T) {
	v := Verdict{Schema: Schema, Result: Denied, Exit: 1, Subject: Subject{Reference: "registry.example/many:1"}}
	for n := range 6000 {
		v.Findings = append(v.Findings, Finding{Result: "fail", What: fmt.Sprintf("check %d", n), Code: string(reason.SignatureAbsent), Found: strings.Repeat("x", n%300)})
	}
	one := cases()["unsigned"](t)
	raw, err := SARIF(base, v, one)
	if err != nil {
		t.Fatal(err)
	}
	results := checkSARIF(t, raw)
	if len(results) != 5000 || results[4999].RuleID != string(reason.SBOMAbsent) || !strings.Contains(results[4999].Message.Text, "agents/coder") {
		t.Errorf("%d results, the last %+v", len(results), results[len(results)-1])
	}
	if !strings.Contains(string(raw), "1002 more results are left out") || !strings.Contains(string(raw), `"leftOut": 1002`) {
		t.Error("nobody says what was left out")
	}
	for i := range v.Findings {
		v.Findings[i].Expected, v.Findings[i].Found, v.Findings[i].Next = strings.Repeat("y", 5000), strings.Repeat("z", 5000), strings.Repeat("w", 5000)
	}
	if raw, err = SARIF(base, v); err != nil {
		t.Fatal(err)
	}
	results = checkSARIF(t, raw)
	if left := 6000 - len(results); len(results) >= 5000 || len(raw) > 10<<20 || !strings.Contains(string(raw), fmt.Sprintf("%d more results are left out", left)) {
		t.Errorf("%d results in %d bytes", len(results), len(raw))
	}

	lines := strings.Split(strings.TrimSpace(GitHub(base, v, one)), "\n")
	if len(lines) != 11 || !strings.Contains(lines[9], "5993 more failures") || !strings.Contains(lines[8], "agents/coder") {
		t.Errorf("%d lines: %.200q", len(lines), lines)
	}
	ten := v
	ten.Findings = v.Findings[:10]
	if got := GitHub(base, ten); strings.Count(got, "::error ") != 10 || strings.Contains(got, "more failures") {
		t.Errorf("ten errors: %.200q", got)
	}

	for _, room := range []int{MaxSummary, 5000, 1000, 400, 100, 0} {
		got := Summary(room, v, one)
		if len(got) > room || room >= 400 && (!strings.HasPrefix(got, "## ztlaunch: not allowed (exit 1)") || !strings.Contains(got, "more rows have no room")) {
			t.Errorf("%d bytes of room: %d: %.100q", room, len(got), got)
		}
	}
}

// TestNothing: where nothing was verified every view says so, and so does one of a
// verdict that gives no reason.
func TestNothing(t *testing.T) {
	for name, all := range map[string][]Verdict{"none": nil, "bare": {{Result: Denied, Exit: 1, Subject: Subject{Reference: "a"}}}, "odd": {{Subject: Subject{Reference: "a"}}}} {
		raw, err := SARIF(base, all...)
		if err != nil || len(checkSARIF(t, raw)) != 1 {
			t.Errorf("%s: SARIF %v: %s", name, err, raw)
		}
		if x := readXML(t, JUnit(base, all...)); x.Failures+x.Errors != 1 {
			t.Errorf("%s: JUnit counts %+v", name, x)
		}
		if !strings.Contains(GitHub(base, all...), "::error ") || !strings.Contains(Text(all...), string(reason.InternalFault)) || !strings.Contains(Summary(MaxSummary, all...), string(reason.InternalFault)) {
			t.Errorf("%s: a view tells of no failure", name)
		}
	}
}

// TestJUnit: the counts are those of the cases, and each finding is one.
func TestJUnit(t *testing.T) {
	all := several(t)
	x := readXML(t, JUnit(base, all...))
	if x.Tests != 10 || x.Failures != 4 || x.Errors != 1 || len(x.Suites) != len(all) {
		t.Errorf("%+v", x)
	}
	for i, s := range x.Suites {
		if s.Name != all[i].Subject.Reference || len(s.Cases) != max(len(all[i].Findings), 1) {
			t.Errorf("suite %d: %s with %d cases", i, s.Name, len(s.Cases))
		}
	}
}

type xmlSuites struct {
	XMLName                 xml.Name `xml:"testsuites"`
	Tests, Failures, Errors int
	Suites                  []xmlSuite `xml:"testsuite"`
}

type xmlSuite struct {
	Name                             string `xml:"name,attr"`
	Tests, Failures, Errors, Skipped int
	Cases                            []struct {
		Name    string     `xml:"name,attr"`
		Class   string     `xml:"classname,attr"`
		Failure []xmlFault `xml:"failure"`
		Error   []xmlFault `xml:"error"`
		Skipped []xmlFault `xml:"skipped"`
	} `xml:"testcase"`
}

type xmlFault struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// readXML reads a JUnit file as strictly as XML is, and holds its counts against its
// cases.
func readXML(t *testing.T, text string) xmlSuites {
	t.Helper()
	may := map[string][]string{"testsuites": {"name", "tests", "failures", "errors"}, "testsuite": {"name", "tests", "failures", "errors", "skipped"},
		"properties": nil, "property": {"name", "value"}, "testcase": {"name", "classname"}, "failure": {"type", "message"}, "error": {"type", "message"}, "skipped": {"message"}}
	counts := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %.300q", err, text)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attrs, known := may[start.Name.Local]
		if !known {
			t.Fatalf("an element %s", start.Name.Local)
		}
		counts[start.Name.Local]++
		for _, a := range start.Attr {
			if !slices.Contains(attrs, a.Name.Local) {
				t.Fatalf("%s has an attribute %s", start.Name.Local, a.Name.Local)
			}
		}
	}
	var x xmlSuites
	if err := xml.Unmarshal([]byte(text), &x); err != nil {
		t.Fatal(err)
	}
	number := func(of, name string) int {
		var n int
		m := regexp.MustCompile(`<` + of + ` [^>]*\b` + name + `="([0-9]+)"`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s has no %s", of, name)
		}
		fmt.Sscan(m[1], &n)
		return n
	}
	x.Tests, x.Failures, x.Errors = number("testsuites", "tests"), number("testsuites", "failures"), number("testsuites", "errors")
	if x.Tests != counts["testcase"] || x.Failures != counts["failure"] || x.Errors != counts["error"] {
		t.Errorf("counts %d, %d, %d of %v", x.Tests, x.Failures, x.Errors, counts)
	}
	seen := map[string]bool{}
	for _, s := range x.Suites {
		for _, c := range s.Cases {
			if key := c.Class + "\x00" + c.Name; seen[key] || c.Name == "" || c.Class == "" {
				t.Errorf("case %.100q twice, or without a name", key)
			} else {
				seen[key] = true
			}
			for _, f := range slices.Concat(c.Failure, c.Error) {
				if f.Type == "" || f.Message == "" || f.Text == "" {
					t.Errorf("a fault that says nothing: %+v", f)
				}
			}
		}
	}
	return x
}

// sarifKeys are the members that SARIF 2.1.0 knows of the objects that we write
// (schema errata 01, of those in use), after "!" the required ones.
var sarifKeys = map[string]string{
	"log":           "$schema !version !runs",
	"run":           "!tool invocations columnKind results properties",
	"tool":          "!driver",
	"driver":        "!name informationUri rules",
	"rule":          "!id shortDescription fullDescription help defaultConfiguration properties",
	"configuration": "level",
	"invocation":    "!executionSuccessful exitCode toolExecutionNotifications",
	"notification":  "level !message",
	"message":       "!text",
	"result":        "ruleId ruleIndex kind level !message locations relatedLocations partialFingerprints properties",
	"location":      "id message physicalLocation",
	"physical":      "artifactLocation region",
	"artifact":      "uri",
	"region":        "startLine",
}

// checkSARIF fails unless raw is a SARIF log as sections 3.13 to 3.49 and code
// scanning want it, and returns its results.
func checkSARIF(t *testing.T, raw []byte) []sarifResult {
	t.Helper()
	object := func(kind string, v any) map[string]any {
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%s is %T", kind, v)
		}
		keys := strings.Fields(sarifKeys[kind])
		for k := range m {
			if !slices.Contains(keys, k) && !slices.Contains(keys, "!"+k) {
				t.Errorf("%s has a member %s", kind, k)
			}
		}
		for _, k := range keys {
			if name, required := strings.CutPrefix(k, "!"); required && m[name] == nil {
				t.Errorf("%s has no %s", kind, name)
			}
		}
		return m
	}
	list := func(v any) []any { l, _ := v.([]any); return l }
	message := func(v any) {
		text, _ := object("message", v)["text"].(string)
		if open := strings.NewReplacer("{{", "", "}}", "").Replace(text); text == "" || len(text) > 20000 || strings.ContainsAny(open, "{}") || strings.Contains(text, "](") {
			t.Errorf("message %.200q", text)
		}
	}
	var log any
	if err := json.Unmarshal(raw, &log); err != nil {
		t.Fatal(err)
	}
	top := object("log", log)
	if _, err := url.Parse(fmt.Sprint(top["$schema"])); err != nil || top["version"] != "2.1.0" || len(list(top["runs"])) != 1 {
		t.Errorf("a log of version %v with %d runs", top["version"], len(list(top["runs"])))
	}
	run := object("run", list(top["runs"])[0])
	driver := object("driver", object("tool", run["tool"])["driver"])
	rules := list(driver["rules"])
	ids := map[string]int{}
	for i, v := range rules {
		r := object("rule", v)
		id, _ := r["id"].(string)
		if _, twice := ids[id]; twice || id == "" {
			t.Errorf("the rule %q twice", id)
		}
		ids[id] = i
		for _, k := range []string{"shortDescription", "fullDescription", "help"} {
			message(r[k])
		}
		object("configuration", r["defaultConfiguration"])
	}
	for _, v := range list(run["invocations"]) {
		for _, n := range list(object("invocation", v)["toolExecutionNotifications"]) {
			message(object("notification", n)["message"])
		}
	}
	location := func(v any) map[string]any {
		l := object("location", v)
		at := object("physical", l["physicalLocation"])
		uri, _ := object("artifact", at["artifactLocation"])["uri"].(string)
		if u, err := url.Parse(uri); err != nil || uri == "" || u.Scheme != "" && u.Scheme != "file" {
			t.Errorf("location %q: %v", uri, err)
		}
		if line, _ := object("region", at["region"])["startLine"].(float64); line < 1 {
			t.Errorf("line %v", line)
		}
		return l
	}
	prints := map[string]bool{}
	if run["results"] == nil {
		t.Error("results is null: they were not computed")
	}
	for _, v := range list(run["results"]) {
		r := object("result", v)
		message(r["message"])
		at, _ := r["ruleIndex"].(float64)
		if i, ok := ids[fmt.Sprint(r["ruleId"])]; !ok || i != int(at) || r["kind"] != "fail" || r["level"] != "error" {
			t.Errorf("result %v", r)
		}
		if n := len(list(r["locations"])); n < 1 || n > 100 {
			t.Errorf("%d locations", n)
		}
		for _, l := range list(r["locations"]) {
			location(l)
		}
		for _, l := range list(r["relatedLocations"]) {
			if related := location(l); related["id"] == nil {
				t.Error("a related location without an id")
			} else {
				message(related["message"])
			}
		}
		p := fmt.Sprint(r["partialFingerprints"])
		if prints[p] || p == "map[]" {
			t.Errorf("the fingerprint %s twice", p)
		}
		prints[p] = true
	}
	var typed sarifLog
	if err := json.Unmarshal(raw, &typed); err != nil {
		t.Fatal(err)
	}
	return typed.Runs[0].Results
}
