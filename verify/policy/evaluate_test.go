package policy

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

var update = flag.Bool("update", false, "write the golden parts of testdata")

// cases are the files of a folder of testdata; too few is a broken checkout.
func cases(t testing.TB, folder string, least int) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < least {
		t.Fatalf("%d cases in testdata/%s, at least %d expected", len(names), folder, least)
	}
	return names
}

// golden compares, or writes with -update.
func golden(t *testing.T, file string, a *txtar.Archive, got string) {
	t.Helper()
	if !*update {
		if want := part(a, "want"); got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
		return
	}
	a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
	a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(got)})
	if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestEvaluate decides every case of testdata/evaluate. A case whose name is a
// reason code shows that code.
func TestEvaluate(t *testing.T) {
	for _, file := range cases(t, "evaluate", 60) {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			s := loadScene(t, file)
			if s.perr != nil {
				t.Fatalf("policy: %v", s.perr)
			}
			d := Evaluate(s.policy, s.in)
			golden(t, file, s.archive, show(d))
			for _, f := range d.Findings() {
				if f.Pass || f.Skipped {
					continue
				}
				if f.Code == "" || f.Code.Class() == reason.Internal || f.Expected == "" || f.Found == "" || f.Next == "" {
					t.Errorf("%s: a failure needs a listed code, what was expected, what was found and what comes next: %+v", f.Rule, f)
				}
			}
			if code := reason.Code(name); code.Class() != reason.Internal &&
				!slices.ContainsFunc(d.Findings(), func(f Finding) bool { return f.Code == code }) {
				t.Errorf("the case does not show %s", code)
			}
			if strings.HasPrefix(name, "ok-") != d.Allowed() {
				t.Errorf("allowed = %v", d.Allowed())
			}
			if d.Allowed() != (d.Exit() == 0) {
				t.Errorf("allowed = %v, exit %d", d.Allowed(), d.Exit())
			}
		})
	}
}

// TestCodesAreShown: the table of reason codes names cases that exist.
func TestCodesAreShown(t *testing.T) {
	n := 0
	for _, row := range reason.Table() {
		if name, ok := strings.CutPrefix(row.Test, "verify/policy TestEvaluate/"); ok {
			n++
			if _, err := os.Stat("testdata/evaluate/" + name + ".txtar"); err != nil {
				t.Errorf("%s: %v", row.Code, err)
			}
		}
	}
	if n < 40 {
		t.Errorf("%d codes name a case here", n)
	}
}

// TestEvaluateOrder: neither the order of rules nor that of claims means
// anything.
func TestEvaluateOrder(t *testing.T) {
	for _, file := range cases(t, "evaluate", 60) {
		s := loadScene(t, file)
		want := Evaluate(s.policy, s.in)
		slices.Reverse(s.policy.rules)
		slices.Reverse(s.in.Claims)
		got := Evaluate(s.policy, s.in)
		if want.Allowed() != got.Allowed() || want.Exit() != got.Exit() || !want.Until().Equal(got.Until()) {
			t.Errorf("%s: allowed %v exit %d until %v; reversed %v %d %v", file,
				want.Allowed(), want.Exit(), want.Until(), got.Allowed(), got.Exit(), got.Until())
		}
	}
}

// TestEachDemandBites removes each demand of each case's policy in turn. Every
// kind of demand, and every single demand of full.yaml, must be the one thing
// that denies in some case.
func TestEachDemandBites(t *testing.T) {
	bites := map[string]bool{}
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse([]byte(expand(t, string(full), nil)), "policy.yaml", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range cases(t, "evaluate", 60) {
		s := loadScene(t, file)
		if Evaluate(s.policy, s.in).Allowed() {
			continue
		}
		for i, r := range s.policy.rules {
			for j, d := range r.demands {
				without := s.policy
				without.rules = slices.Clone(s.policy.rules)
				without.rules[i].demands = slices.Delete(slices.Clone(r.demands), j, j+1)
				if Evaluate(without, s.in).Allowed() {
					bites[string(d.word)] = true
					if s.policy.sum == p.sum {
						bites[d.where] = true
					}
				}
			}
		}
	}
	for _, w := range []word{signature, provenance, bill, vulnerabilities, attestation, pin, layout} {
		if !bites[string(w)] {
			t.Errorf("no case is denied by a %s demand alone", w)
		}
	}
	for _, r := range p.rules {
		for _, d := range r.demands {
			if !bites[d.where] {
				t.Errorf("removing %s (line %d of full.yaml) changes no case", d.where, d.line)
			}
		}
	}
}

// TestInput: what cannot be decided on is denied, and is our fault.
func TestInput(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-signature.txtar")
	for name, spoil := range map[string]func(p *Policy, in *Input){
		"policy":   func(p *Policy, _ *Input) { *p = Policy{} },
		"artifact": func(_ *Policy, in *Input) { in.Artifact = Input{}.Artifact },
		"tree":     func(_ *Policy, in *Input) { in.Tree = Input{}.Tree },
		"time":     func(_ *Policy, in *Input) { in.Now = time.Time{} },
		"root":     func(_ *Policy, in *Input) { in.Root = "" },
		"purpose":  func(_ *Policy, in *Input) { in.Purpose = "" },
		"purpose2": func(_ *Policy, in *Input) { in.Purpose = "Run" },
	} {
		p, in := s.policy, s.in
		spoil(&p, &in)
		d := Evaluate(p, in)
		if d.Allowed() || d.Exit() != 5 || len(d.Findings()) != 1 || d.Findings()[0].Code != reason.DecisionInput {
			t.Errorf("without %s: allowed %v, exit %d, %+v", name, d.Allowed(), d.Exit(), d.Findings())
		}
	}
	empty := s.policy
	empty.rules = slices.Clone(s.policy.rules)
	empty.rules[0].demands = nil
	if d := Evaluate(empty, s.in); d.Allowed() || d.Exit() != 5 {
		t.Errorf("a rule without demands: allowed %v, exit %d", d.Allowed(), d.Exit())
	}
	named := loadScene(t, "testdata/evaluate/ok-deny-feed-max-age.txtar")
	stranger := loadScene(t, "testdata/evaluate/denied-adopted.txtar").in.Feed // another policy believes it
	unproved := named.in.Feed
	unproved.policy = ""
	for name, feed := range map[string]Feed{"none": {}, "another policy's": stranger, "unproved": unproved} {
		in := named.in
		in.Feed = feed
		if d := Evaluate(named.policy, in); d.Allowed() || d.Exit() != 5 || d.Findings()[0].Code != reason.DecisionInput {
			t.Errorf("with the feed %s: %s", name, show(d))
		}
	}
	if d := (Decision{}); d.Allowed() || d.Exit() != 5 {
		t.Errorf("the zero decision: allowed %v, exit %d", d.Allowed(), d.Exit())
	}
	if d := Evaluate(s.policy, s.in); !d.Allowed() {
		t.Errorf("unspoiled: %s", show(d))
	}
}

// TestCoveragesAreUsed: a kept coverage stands for parsing the SBOM again, and
// only the one of the claim's own envelope does.
func TestCoveragesAreUsed(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/sbom-file-unlisted.txtar")
	if Evaluate(s.policy, s.in).Allowed() {
		t.Fatal("allowed")
	}
	for _, c := range s.in.Claims {
		if !IsSBOM(c.PredicateType()) {
			continue
		}
		coverage, err := Cover(c, s.in.Tree)
		if err != nil {
			t.Fatal(err)
		}
		coverage.Unlisted = nil
		s.in.Coverages = map[digestOf]coverageOf{otherSum: coverage}
		if Evaluate(s.policy, s.in).Allowed() {
			t.Error("another envelope's coverage was used")
		}
		s.in.Coverages = map[digestOf]coverageOf{c.Envelope(): coverage}
		if d := Evaluate(s.policy, s.in); !d.Allowed() {
			t.Errorf("the kept coverage was not used:\n%s", show(d))
		}
	}
}
