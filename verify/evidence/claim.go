package evidence

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// TimeSource says who vouches for the time of a Claim.
type TimeSource uint8

// The sources of time. The zero source vouches for nothing.
const (
	TimeNone TimeSource = iota
	TimeLog             // a transparency log's signed entry timestamp
	TimeTSA             // an RFC 3161 timestamp authority
)

// String is the source as reports print it.
func (s TimeSource) String() string {
	switch s {
	case TimeLog:
		return "tlog"
	case TimeTSA:
		return "tsa"
	}
	return "none"
}

// Signer is who signed: a key, or whoever a certificate names. Of Key, Issuer
// and Authority exactly one is set. The fields of a certificate are byte for byte
// as it holds them; those below SANType only where there is an Issuer.
type Signer struct {
	Key string // trust.Key ID, "" for a certificate

	Authority string // the root of the private authority that issued the certificate: trust.AuthorityID
	Issuer    string // OIDC issuer: 1.3.6.1.4.1.57264.1.8, or .1.1 in old certificates
	SAN       string // the one subject alternative name
	SANType   string // "uri", "email" or "other"; of a private authority also "dns"

	BuildSignerURI                      string // .1.9
	BuildSignerDigest                   string // .1.10
	RunnerEnvironment                   string // .1.11
	SourceRepositoryURI                 string // .1.12
	SourceRepositoryDigest              string // .1.13
	SourceRepositoryRef                 string // .1.14
	SourceRepositoryIdentifier          string // .1.15
	SourceRepositoryOwnerURI            string // .1.16
	SourceRepositoryOwnerIdentifier     string // .1.17
	BuildConfigURI                      string // .1.18
	BuildConfigDigest                   string // .1.19
	BuildTrigger                        string // .1.20
	RunInvocationURI                    string // .1.21
	SourceRepositoryVisibilityAtSigning string // .1.22

	// Deprecated by Fulcio in favour of the above, still issued.
	GitHubWorkflowTrigger    string // .1.2
	GitHubWorkflowSHA        string // .1.3
	GitHubWorkflowName       string // .1.4
	GitHubWorkflowRepository string // .1.5
	GitHubWorkflowRef        string // .1.6
}

// Keyless says whether a certificate with an OIDC issuer named the signer.
func (s Signer) Keyless() bool { return s.Key == "" && s.Authority == "" && s.SAN != "" }

// Certified says whether a certificate of a private authority named the signer.
func (s Signer) Certified() bool { return s.Key == "" && s.Authority != "" && s.SAN != "" }

// Caller is the workflow that was started (.1.18) where another one signed, as a
// reusable workflow does; else "".
func (s Signer) Caller() string {
	if s.BuildConfigURI == s.BuildSignerURI {
		return ""
	}
	return s.BuildConfigURI
}

// String is the signer in one line, for people: the key's name, or the
// certificate's name, its issuer, and the workflow that called the one that
// signed.
func (s Signer) String() string {
	switch {
	case s.Key != "":
		return "key " + s.Key
	case s.SAN == "":
		return "nobody"
	case s.Authority != "":
		return s.SAN + " (authority " + s.Authority + ")"
	case s.Caller() != "":
		return s.SAN + " (" + s.Issuer + "), called by " + s.Caller()
	}
	return s.SAN + " (" + s.Issuer + ")"
}

// Claim is what a signer proved to have said: this predicate, of this subject,
// by this time. The zero Claim says nothing.
type Claim struct {
	signer        Signer
	statementType string
	predicateType string
	predicate     json.RawMessage
	subject       digest.Digest
	subjects      []Subject
	key           string
	at            time.Time
	source        TimeSource
	envelope      digest.Digest
	supposed      bool // by Suppose, which proves nothing
	witnesses     []Witness
	certificates  []digest.Digest
	begun         time.Time
	legacy        bool
}

// Zero says that nothing was proved.
func (c Claim) Zero() bool { return c.envelope == "" }

// Signer is who said it.
func (c Claim) Signer() Signer { return c.signer }

// StatementType is StatementV1 or StatementV01; "" for a bare message and for a
// simple-signing payload.
func (c Claim) StatementType() string { return c.statementType }

// PredicateType is what kind of thing was said; "" for a bare message, which
// is therefore no kind that a rule could ask for.
func (c Claim) PredicateType() string { return c.predicateType }

// Predicate is what was said, as it was signed. It is nil when the statement
// has none.
func (c Claim) Predicate() json.RawMessage { return slices.Clone(c.predicate) }

// Subject is the digest, of those asked about, that it was said of.
func (c Claim) Subject() digest.Digest { return c.subject }

// Subjects is everything it was said of. More than one means that the signer
// spoke of other artifacts too.
func (c Claim) Subjects() []Subject { return slices.Clone(c.subjects) }

// Key is the name (trust.Key.ID) of the key that the signature was proved with,
// a certificate's too: one key under several names is one signer.
func (c Claim) Key() string { return c.key }

// Logs are the transparency logs of the Root that hold the signature, each once,
// by their IDs in hex, sorted.
func (c Claim) Logs() []string {
	var logs []string
	for _, w := range c.witnesses {
		if w.Log != "" {
			logs = append(logs, w.Log)
		}
	}
	slices.Sort(logs)
	return slices.Compact(logs)
}

// Logged says whether a transparency log of the Root holds the signature.
func (c Claim) Logged() bool { return len(c.Logs()) > 0 }

// Time is the earliest moment by which the signature is proved to have
// existed, and who proves it; zero and TimeNone when nobody does.
func (c Claim) Time() (time.Time, TimeSource) { return c.at, c.source }

// Begun is the start of the signer's certificate, before which nothing was signed by
// it; zero for a key without one, of which nobody can tell: a log and a timestamp
// authority prove by when a signature existed, and may be asked again years later.
func (c Claim) Begun() time.Time { return c.begun }

// Envelope is the digest of the bundle that proves it.
func (c Claim) Envelope() digest.Digest { return c.envelope }

// Legacy says that it was kept as cosign up to version 2 keeps signatures and
// attestations: as a Layer of a tag beside the image, and not as a bundle that
// refers to it.
func (c Claim) Legacy() bool { return c.legacy }
