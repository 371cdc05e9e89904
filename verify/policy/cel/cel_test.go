package cel

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// predicate is decoded JSON.
var predicate = map[string]any{
	"result": "PASS", "count": int64(3), "score": 0.5, "none": nil, "yes": true,
	"tests":  []any{map[string]any{"name": "a", "ok": true}, map[string]any{"name": "b", "ok": false}},
	"nested": map[string]any{"deep": map[string]any{"er": "x"}},
}

var statement = Statement{
	PredicateType: "https://x/y", Predicate: predicate, Subject: "sha256:aa",
	Subjects: []Subject{{"coder", "sha256:aa"}, {"other", ""}},
	Signer: Signer{Issuer: "https://issuer.example", SAN: "https://x/w", SANType: "uri", Repository: "r", Ref: "refs/tags/v1",
		Workflow: "w", Trigger: "push", Runner: "github-hosted"},
	SignedAt: now.Add(-time.Hour),
}

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		source string
		want   bool
		fails  string // part of the error, "" = none
	}{
		{"predicate.result == 'PASS'", true, ""},
		{"predicate.result == 'FAIL'", false, ""},
		{"predicate.count == 3 && predicate.count > 2.5 && predicate.score < 1", true, ""},
		{"predicate.count == 3.0", true, ""},
		{"predicate.count == '3'", false, ""},
		{"predicate.none == null", true, ""},
		{"predicate.yes", true, ""},
		{"has(predicate.missing)", false, ""},
		{"!has(predicate.missing) || predicate.missing == 1", true, ""},
		{"predicate.tests.exists(t, t.name == 'b' && !t.ok)", true, ""},
		{"predicate.tests.all(t, t.ok)", false, ""},
		{"size(predicate.tests) == 2", true, ""},
		{"predicate['nested'].deep.er.startsWith('x')", true, ""},
		{"predicate.result.matches('^P.*S$')", true, ""},
		{"now == timestamp('2026-06-01T12:00:00Z')", true, ""},
		{"now - signedAt < duration('2h')", true, ""},
		{"predicateType == 'https://x/y'", true, ""},
		{"subject == 'sha256:aa' && subjects.exists(s, s.digest == subject && s.name == 'coder')", true, ""},
		{"size(subjects) == 1", false, ""},
		{"subjects[1].digest == ''", true, ""},
		{"signer.issuer == 'https://issuer.example' && signer.san.startsWith('https://') && signer.sanType == 'uri'", true, ""},
		{"signer.repository == 'r' && signer.ref == 'refs/tags/v1' && signer.workflow == 'w' && signer.trigger == 'push' && signer.runner == 'github-hosted'", true, ""},
		{"signer.key != ''", false, ""},
		{"subjects[0].size == 'x'", false, "no such key"},
		{"predicate.missing == 1", false, "no such key"},
		{"predicate.result.x", false, "no such"},
		{"predicate.count", false, "not true or false"},
		{"predicate.result", false, "not true or false"},
	} {
		p, err := Compile(c.source)
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		got, err := p.Holds(statement, now)
		if got != c.want || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: %v, %v", c.source, got, err)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, source := range []string{
		"", "1", "'x'", "predicate ==", "unknown == 1", "env('HOME') == ''", "readFile('/etc/passwd') != ''", "http.get('https://x') == 1",
		"signer.isuer == 'x'", "signer == 'x'", "has(signer.key)", "signer.key == 1", "signer.key.name == 'x'", "signer['key'] == 'x'",
		"subject == 1", "subject.name == 'x'", "subjects.exists(s, s.digest == 1)", "predicateType == true", "now == 'today'", "signedAt > 1",
		"true; true", "now", "[1]", "true" + strings.Repeat(" ", maxSource), strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200),
	} {
		p, err := Compile(source)
		if err == nil || !p.Zero() {
			t.Errorf("%.60q compiles", source)
			continue
		}
		if len(err.Error()) > 260 || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%.60q: error of %d bytes: %q", source, len(err.Error()), err)
		}
	}
	if held, err := (Program{}).Holds(Statement{Predicate: predicate}, now); held || err == nil {
		t.Error("the zero program holds")
	}
}

// TestCost: an expression cannot run away; that it would is an error of its own.
func TestCost(t *testing.T) {
	many := make([]any, 2000)
	for i := range many {
		many[i] = int64(i)
	}
	p, err := Compile("predicate.all(a, predicate.all(b, predicate.all(c, a + b + c >= 0)))")
	if err != nil {
		t.Fatal(err)
	}
	if held, err := p.Holds(Statement{Predicate: many}, now); held || !errors.Is(err, ErrCost) {
		t.Errorf("%v, %v", held, err)
	}
}

// FuzzCompile: any text compiles to a condition or to one line of error, and a
// condition ends in true, false or an error.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{"predicate.result == 'PASS'", "predicate.tests.all(t, t.ok)", "has(predicate.x)", "now > signedAt", "1 +", "\"\\x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		p, err := Compile(source)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		if held, err := p.Holds(Statement{Predicate: predicate}, now); held && err != nil {
			t.Fatalf("held with %v", err)
		}
	})
}
