package evidence

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Types of in-toto statements (in-toto attestation framework, spec v1).
const (
	StatementV1  = "https://in-toto.io/Statement/v1"
	StatementV01 = "https://in-toto.io/Statement/v0.1"
	PayloadType  = "application/vnd.in-toto+json"
)

// Predicate types that rules name. SPDX is followed by a version in most
// documents: compare with IsSPDX.
const (
	PredicateCosignSign        = "https://sigstore.dev/cosign/sign/v1"
	PredicateSLSAProvenanceV1  = "https://slsa.dev/provenance/v1"
	PredicateSLSAProvenanceV02 = "https://slsa.dev/provenance/v0.2"
	PredicateSPDX              = "https://spdx.dev/Document"
	PredicateCycloneDX         = "https://cyclonedx.org/bom"
	PredicateModelSignature    = "https://model_signing/signature/v1.0"
)

// IsSPDX says whether a predicate is an SPDX document of any version:
// https://spdx.dev/Document, or that followed by /vN.N.
func IsSPDX(predicateType string) bool {
	version, ok := strings.CutPrefix(predicateType, PredicateSPDX)
	return ok && (version == "" || strings.HasPrefix(version, "/v"))
}

// IsCycloneDX says whether a predicate is a CycloneDX document of any version:
// https://cyclonedx.org/bom, or that followed by /vN.N.
func IsCycloneDX(predicateType string) bool {
	version, ok := strings.CutPrefix(predicateType, PredicateCycloneDX)
	return ok && (version == "" || strings.HasPrefix(version, "/v"))
}

const (
	maxSubjects = 1024
	maxDigests  = 32 // per subject
)

// Subject is one artifact that a statement speaks about. Names are the
// signer's own words and decide nothing.
type Subject struct {
	Name   string
	SHA256 digest.Digest // "" when the statement gives none
}

// statement is a decoded in-toto statement.
type statement struct {
	kind          string // _type
	predicateType string
	predicate     json.RawMessage // nil when absent
	subjects      []Subject
}

// parseStatement reads the payload of an envelope. Member names are exact:
// Go's decoder would take "Subject" for "subject", others would not.
func parseStatement(payload []byte) (statement, error) {
	members, err := strict(payload)
	if err != nil {
		return statement{}, err
	}
	if err := exact(members, "_type", "subject", "predicateType", "predicate"); err != nil {
		return statement{}, err
	}
	var st statement
	var subjects []json.RawMessage
	for _, name := range []string{"_type", "predicateType", "subject"} {
		if members[name] == nil {
			return statement{}, fmt.Errorf("no %s", name)
		}
	}
	if err := json.Unmarshal(members["_type"], &st.kind); err != nil {
		return statement{}, fmt.Errorf("_type: %w", err)
	}
	if err := json.Unmarshal(members["predicateType"], &st.predicateType); err != nil {
		return statement{}, fmt.Errorf("predicateType: %w", err)
	}
	if raw := members["subject"]; string(raw) != "null" {
		if subjects, err = elements(raw, maxSubjects); err != nil {
			return statement{}, fmt.Errorf("subject: %w", err)
		}
	}
	if st.predicateType == "" {
		return statement{}, errors.New("empty predicateType")
	}
	if raw := members["predicate"]; string(raw) != "null" {
		st.predicate = raw
	}
	for i, raw := range subjects {
		s, err := parseSubject(raw)
		if err != nil {
			return statement{}, fmt.Errorf("subject[%d]: %w", i, err)
		}
		st.subjects = append(st.subjects, s)
	}
	return st, nil
}

// exact refuses a member that a decoder like Go's would take for a known one.
func exact(members map[string]json.RawMessage, known ...string) error {
	for name := range members {
		for _, k := range known {
			if name != k && strings.EqualFold(name, k) {
				return fmt.Errorf("member %q, which some parsers read as %q", name, k)
			}
		}
	}
	return nil
}

// parseSubject reads one subject. One that is null names nothing.
func parseSubject(raw json.RawMessage) (Subject, error) {
	members, err := within(raw, maxValues)
	if err != nil {
		return Subject{}, err
	}
	if len(members) == 0 && raw[0] != '{' && string(raw) != "null" {
		return Subject{}, errors.New("not an object")
	}
	if err := exact(members, "name", "digest"); err != nil {
		return Subject{}, err
	}
	var s Subject
	var digests map[string]string
	for name, into := range map[string]any{"name": &s.Name, "digest": &digests} {
		if raw, ok := members[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return Subject{}, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if len(digests) > maxDigests {
		return Subject{}, fmt.Errorf("%d digests, at most %d", len(digests), maxDigests)
	}
	s.SHA256, err = sha256Of(digests)
	return s, err
}

// sha256Of is the sha256 member of a digest set, in lower case, or "". Other
// algorithms are signed all the same, but nothing here is named by them.
func sha256Of(set map[string]string) (digest.Digest, error) {
	var found digest.Digest
	for algorithm, text := range set {
		sum, err := hex.DecodeString(text)
		switch {
		case err != nil:
			return "", fmt.Errorf("%s digest %q is not hex", algorithm, text)
		case algorithm == "sha256" && len(sum) == 32:
			found = digest.NewDigestFromEncoded(digest.SHA256, strings.ToLower(text))
		case strings.EqualFold(algorithm, "sha256"):
			return "", fmt.Errorf("%s digest %q", algorithm, text)
		}
	}
	return found, nil
}

// subject finds which of the wanted digests the statement names first, in the
// order wanted.
func (st statement) subject(wanted []digest.Digest) (digest.Digest, error) {
	const what = "match subject"
	usable := 0
	for _, s := range st.subjects {
		if s.SHA256 != "" {
			usable++
		}
	}
	if usable == 0 {
		return "", &reason.Error{
			Code: reason.SubjectUnusable, What: what,
			Expected: "a subject with a sha256 digest", Found: fmt.Sprintf("%d subjects without one", len(st.subjects)),
			Next: next(reason.SubjectUnusable),
		}
	}
	for _, w := range wanted {
		for _, s := range st.subjects {
			if s.SHA256 == w && w != "" {
				return w, nil
			}
		}
	}
	return "", &reason.Error{
		Code: reason.SubjectMismatch, What: what,
		Expected: list(wanted), Found: list(st.sums()), Next: next(reason.SubjectMismatch),
	}
}

func (st statement) sums() []digest.Digest {
	var sums []digest.Digest
	for _, s := range st.subjects {
		if s.SHA256 != "" {
			sums = append(sums, s.SHA256)
		}
	}
	return sums
}

// list names a few digests and counts the rest.
func list(sums []digest.Digest) string {
	const show = 3
	var parts []string
	for i, s := range sums {
		if i == show {
			parts = append(parts, fmt.Sprintf("and %d more", len(sums)-show))
			break
		}
		parts = append(parts, s.String())
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
