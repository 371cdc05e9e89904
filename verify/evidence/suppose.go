package evidence

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// Supposition is what somebody might have said, for a policy's own tests.
type Supposition struct {
	Signer        Signer
	PredicateType string
	Predicate     json.RawMessage
	Subject       digest.Digest
	Logs          int       // in how many logs it is
	Legacy        bool      // it is kept as cosign up to version 2 did
	Time          time.Time // zero: nobody vouches for one
	Source        TimeSource
}

// Suppose makes a Claim that nobody proved. It is marked for good (Supposed),
// and whatever decides for real refuses it; it serves to ask what a policy would
// say. The predicate is held to the same rules as a signed one.
func Suppose(s Supposition) (Claim, error) {
	if err := s.Subject.Validate(); err != nil {
		return Claim{}, fmt.Errorf("suppose a subject: %w", err)
	}
	st := map[string]any{"_type": StatementV1, "predicateType": s.PredicateType,
		"subject": []any{map[string]any{"digest": map[string]string{"sha256": s.Subject.Encoded()}}}}
	if _, err := strict(s.Predicate); err != nil && s.Predicate != nil {
		return Claim{}, fmt.Errorf("suppose a predicate: %w", err)
	}
	if s.Predicate != nil {
		st["predicate"] = s.Predicate
	}
	payload, err := json.Marshal(st)
	if err != nil {
		return Claim{}, fmt.Errorf("suppose a statement: %w", err)
	}
	read, err := parseStatement(payload)
	if err != nil {
		return Claim{}, fmt.Errorf("suppose a statement: %w", err)
	}
	var logs []Witness
	for i := range s.Logs {
		logs = append(logs, Witness{Log: fmt.Sprintf("supposed-%d", i), At: s.Time.UTC(), Source: s.Source})
	}
	if s.Source == TimeTSA {
		logs = append(logs, Witness{At: s.Time.UTC(), Source: TimeTSA})
	}
	key, begun := s.Signer.Key, time.Time{}
	if key == "" { // one for each certificate name, of a certificate that begins when it signs
		begun = s.Time.UTC()
		key = digest.FromString(fmt.Sprintf("%+v", s.Signer)).String()
	}
	return Claim{
		signer: s.Signer, key: key, statementType: read.kind, predicateType: read.predicateType, predicate: read.predicate,
		subject: s.Subject, subjects: read.subjects, witnesses: logs, at: s.Time.UTC(), source: s.Source,
		envelope: digest.FromString(fmt.Sprintf("ztlaunch.supposed/v1\n%+v\n%t\n%s", s.Signer, s.Legacy, payload)), supposed: true, legacy: s.Legacy, begun: begun,
	}, nil
}

// Supposed says that Suppose made the claim: nothing was proved.
func (c Claim) Supposed() bool { return c.supposed }
