package sign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/in-toto/in-toto-golang/in_toto"
	slsa02 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v0.2"
	slsa1 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v1"
	"github.com/opencontainers/go-digest"
	"github.com/sigstore/cosign/v2/pkg/cosign/attestation"
	"github.com/sigstore/cosign/v2/pkg/types"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// PredicateType turns what is given as --type into the URI of a predicate
// type: a word that cosign knows, or a URI as it is. It refuses with
// sign-predicate-type.
func PredicateType(word string) (string, error) {
	switch word {
	case "custom":
		return attestation.CosignCustomProvenanceV01, nil
	case "vuln":
		return attestation.CosignVulnProvenanceV01, nil
	case "openvex":
		return attestation.OpenVexNamespace, nil
	case "slsaprovenance", "slsaprovenance02":
		return slsa02.PredicateSLSAProvenance, nil
	case "slsaprovenance1":
		return slsa1.PredicateSLSAProvenance, nil
	case "spdx", "spdxjson":
		return in_toto.PredicateSPDX, nil
	case "cyclonedx":
		return in_toto.PredicateCycloneDX, nil
	case "link":
		return in_toto.PredicateLinkV1, nil
	}
	if u, err := url.Parse(word); err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" {
		return "", &reason.Error{
			Code: reason.SignPredicateType, What: "read predicate type", Found: fmt.Sprintf("%q", word),
			Expected: "custom, cyclonedx, link, openvex, slsaprovenance, slsaprovenance02, slsaprovenance1, spdx, spdxjson, vuln or a URI",
		}
	}
	return word, nil
}

// subject is a resource descriptor of a statement.
type subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

// Statement writes an in-toto Statement v1 that says predicate of each of the
// subjects. The predicate keeps its members, their order and their numbers as
// they are written; only white space between them goes. An empty name is left
// out, as cosign does for images.
func Statement(predicateType string, predicate json.RawMessage, name string, subjects ...digest.Digest) ([]byte, error) {
	if predicateType == "" || len(subjects) == 0 {
		return nil, fmt.Errorf("write statement: %d subjects, predicate type %q", len(subjects), predicateType)
	}
	all := make([]subject, 0, len(subjects))
	for _, d := range subjects {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("write statement: subject %q is no sha256 digest", d)
		}
		all = append(all, subject{Name: name, Digest: map[string]string{"sha256": d.Encoded()}})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the predicate is signed as it was written
	err := e.Encode(struct {
		Type          string          `json:"_type"`
		Subject       []subject       `json:"subject"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}{in_toto.StatementInTotoV1, all, predicateType, predicate})
	if err != nil {
		return nil, fmt.Errorf("write statement: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Image signs an image as cosign v3 does: an empty predicate of type
// https://sigstore.dev/cosign/sign/v1 about its manifest or index. The name may
// be empty.
func Image(k Key, d digest.Digest, name string) ([]byte, error) {
	st, err := Statement(types.CosignSignPredicateType, json.RawMessage("{}"), name, d)
	if err != nil {
		return nil, err
	}
	return Sign(k, st)
}
