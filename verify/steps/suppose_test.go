package steps

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestSuppose: what nobody proved says so, and is no less whole than what Check makes.
func TestSuppose(t *testing.T) {
	until := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	suppose := func(spoil func(*Supposition)) (Outcome, error) {
		s := Supposition{Signers: []string{"sha256:bb", "sha256:aa", "sha256:bb"}, Steps: []Step{{"build", []string{"sha256:dd", "sha256:cc"}, 2}},
			Products: map[string]digest.Digest{"image.json": digest.FromString("x")}, Until: until}
		spoil(&s)
		return Suppose(s)
	}
	o, err := suppose(func(*Supposition) {})
	if err != nil {
		t.Fatal(err)
	}
	if !o.Supposed() || o.Zero() || !slices.Equal(o.Signers(), []string{"sha256:aa", "sha256:bb"}) || !o.Until().Equal(until) || len(o.Steps()) != 1 ||
		!slices.Equal(o.Steps()[0].Functionaries, []string{"sha256:cc", "sha256:dd"}) || !maps.Equal(o.Products(), map[string]digest.Digest{"image.json": digest.FromString("x")}) {
		t.Errorf("supposed %+v", o)
	}
	if (Outcome{}).Supposed() {
		t.Error("the zero outcome is supposed")
	}
	for name, spoil := range map[string]func(*Supposition){
		"signer":    func(s *Supposition) { s.Signers = nil },
		"steps":     func(s *Supposition) { s.Steps = nil },
		"until":     func(s *Supposition) { s.Until = time.Time{} },
		"product":   func(s *Supposition) { s.Products["image.json"] = "sha256:0" },
		"threshold": func(s *Supposition) { s.Steps[0].Threshold = 0 },
		"unmet":     func(s *Supposition) { s.Steps[0].Functionaries = []string{"sha256:cc", "sha256:cc"} },
	} {
		if o, err := suppose(spoil); err == nil || !o.Zero() {
			t.Errorf("%s: supposed %+v", name, o)
		}
	}
}
