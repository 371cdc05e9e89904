package evidence

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestSuppose: what nobody proved says so, and its predicate is no freer than a
// signed one.
func TestSuppose(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	s := Supposition{Signer: Signer{Key: "sha256:aa"}, PredicateType: PredicateSPDX, Predicate: json.RawMessage(`{"a":1}`),
		Subject: digest.FromString("x"), Logs: 1, Time: at, Source: TimeLog}
	c, err := Suppose(s)
	if err != nil {
		t.Fatal(err)
	}
	when, source := c.Time()
	if !c.Supposed() || c.Zero() || c.Signer() != s.Signer || c.PredicateType() != s.PredicateType || string(c.Predicate()) != `{"a":1}` ||
		c.Subject() != s.Subject || len(c.Subjects()) != 1 || c.Subjects()[0].SHA256 != s.Subject || !c.Logged() || !when.Equal(at) || source != TimeLog {
		t.Errorf("supposed %+v", c)
	}
	if (Claim{}).Supposed() {
		t.Error("the zero claim is supposed")
	}
	for name, spoil := range map[string]func(*Supposition){
		"twice":     func(s *Supposition) { s.Predicate = json.RawMessage(`{"a":1,"a":2}`) },
		"trailing":  func(s *Supposition) { s.Predicate = json.RawMessage(`{} {}`) },
		"no-json":   func(s *Supposition) { s.Predicate = json.RawMessage(`x`) },
		"no-type":   func(s *Supposition) { s.PredicateType = "" },
		"subject":   func(s *Supposition) { s.Subject = "" },
		"subject-2": func(s *Supposition) { s.Subject = "sha256:0" },
	} {
		bad := s
		spoil(&bad)
		if c, err := Suppose(bad); err == nil || !c.Zero() {
			t.Errorf("%s was supposed", name)
		}
	}
}
