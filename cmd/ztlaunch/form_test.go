//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFormIsTheHosts shows that nothing outside of a build decides how roots are
// held: no variable, no flag, no file, and no statement of this program.
func TestFormIsTheHosts(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sets := regexp.MustCompile(`&?(onlyForm|watchEvery)\s*(=[^=]|:=)|&(onlyForm|watchEvery)`)
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := sets.Find(raw); at != nil && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("%s: %s", name, at)
		}
	}
	l := newLab(t)
	ref := l.image("tools")
	want := l.form()
	c := l.cmd("run", "--key", "release.pub", "--result", "r.json", ref, "true")
	for _, name := range []string{"FORM", "ONLYFORM", "ONLY_FORM", "INTEGRITY", "TIER"} {
		c.Env = append(c.Env, "ZTLAUNCH_"+name+"=extracted", name+"=extracted")
	}
	c.Env = append(c.Env, "onlyForm=extracted", "main.onlyForm=extracted", "watchEvery=1h")
	if a := l.finish(c); a.status != 0 {
		t.Fatalf("%d %s", a.status, a.err)
	}
	if o := l.outcomeOf("r.json"); o.Tier != want {
		t.Errorf("held as %s, want %s", o.Tier, want)
	}
	for _, flag := range []string{"--form=extracted", "--only-form=extracted", "--integrity=extracted", "--watch-every=1h"} {
		if a := l.run("run", flag, "--key", "release.pub", ref, "true"); a.status != 125 || !strings.Contains(a.err, "flag-unknown") {
			t.Errorf("%s: %d %s", flag, a.status, a.err)
		}
	}
	if shown := l.ok("audit", "show", "--json").out; !strings.Contains(shown, `"tier":"`+want+`"`) {
		t.Errorf("no record says %s: %s", want, shown)
	}
}

// TestBoxIntegrity refuses a launch whose roots would be held more weakly than the
// policy demands, and nothing starts.
func TestBoxIntegrity(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	have := l.form()
	rank := map[string]int{"extracted": 0, "loop": 1, "sealed": 2}
	for demanded := range rank {
		l.write("policy.yaml", "identities: {k: {key: release.pub}}\nimages: [{match: localhost/*, require: [{signature: {by: [k]}}]}]\nbox: {integrity: "+demanded+"}\n")
		a := l.run("run", "--policy", "policy.yaml", ref, "echo", "ran")
		if rank[have] >= rank[demanded] {
			if a.status != 0 || a.out != "ran\n" {
				t.Errorf("%s for %s: %d %s", have, demanded, a.status, a.err)
			}
		} else if a.status != 125 || a.out != "" || !strings.Contains(a.err, "integrity-below-box") {
			t.Errorf("%s for %s: %d %q %s", have, demanded, a.status, a.out, a.err)
		}
	}
}
