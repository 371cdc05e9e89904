package policy

import (
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Identity is somebody whom a policy believes: a key, or the exact fields of a
// certificate.
type Identity struct {
	name    string
	key     trust.Key
	keyless Keyless
}

// Keyless are the certificate fields that an identity fixes. Issuer is always
// set, and either SAN or Repository, Workflow and Ref; the others narrow.
type Keyless struct {
	Issuer     string
	SAN        string
	Repository string // https://github.com/acme/agent
	Workflow   string // .github/workflows/release.yml
	Ref        string // refs/tags/v*; "*" stops at "/"
	Signer     string // of a reusable workflow: https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v*
	Trigger    string // push
	Runner     string // github-hosted
}

// Name is the name that demands use.
func (id Identity) Name() string { return id.name }

// Key is the key of a key identity, else the zero Key.
func (id Identity) Key() trust.Key { return id.key }

// Keyless are the certificate fields of a keyless identity.
func (id Identity) Keyless() Keyless { return id.keyless }

// String is the identity in one line, for people.
func (id Identity) String() string {
	if !id.key.Zero() {
		return "key " + id.key.ID()
	}
	var b strings.Builder
	for _, f := range id.keyless.fields() {
		if f.value != "" {
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString(f.name + " " + f.value)
		}
	}
	return b.String()
}

type field struct{ name, value string }

// fields are in the order in which a file should list them.
func (k Keyless) fields() []field {
	return []field{
		{"issuer", k.Issuer}, {"san", k.SAN}, {"repository", k.Repository}, {"workflow", k.Workflow},
		{"ref", k.Ref}, {"signer", k.Signer}, {"trigger", k.Trigger}, {"runner", k.Runner},
	}
}

// Difference is one field in which a signer is not the identity.
type Difference struct{ Field, Expected, Found string }

// Differences are the fields in which a signer is not this identity; none
// means that the signer is this identity.
func (id Identity) Differences(s evidence.Signer) []Difference {
	if !id.key.Zero() {
		if s.Key == id.key.ID() {
			return nil
		}
		if s.Key != "" {
			return []Difference{{"key", id.key.ID(), s.Key}}
		}
		return []Difference{{"signer", "key " + id.key.ID(), s.String()}}
	}
	if !s.Keyless() {
		return []Difference{{"signer", "a certificate with " + id.String(), s.String()}}
	}
	return id.keyless.differences(s)
}

func (k Keyless) differences(s evidence.Signer) (out []Difference) {
	differ := func(ok bool, field, expected, found string) {
		if !ok {
			if found == "" {
				found = "none"
			}
			out = append(out, Difference{field, expected, found})
		}
	}
	same := func(field, expected, found string) {
		if expected != "" {
			differ(found == expected, field, expected, found)
		}
	}
	differ(k.Issuer != "" && s.Issuer == k.Issuer, "issuer", k.Issuer, s.Issuer)
	if k.SAN != "" {
		differ(s.SAN == k.SAN, "san", k.SAN, s.SAN)
		differ(s.SANType == sanType(k.SAN), "san type", sanType(k.SAN), s.SANType)
	}
	same("repository", k.Repository, s.SourceRepositoryURI)
	if k.Ref != "" {
		differ(s.SourceRepositoryRef != "" && glob(k.Ref, s.SourceRepositoryRef), "ref", k.Ref, s.SourceRepositoryRef)
	}
	if k.Workflow != "" {
		k.workflow(s, differ)
	}
	if k.SAN == "" && k.Workflow == "" { // Parse refuses it; nothing fixed is nobody
		differ(false, "san", "a certificate name", s.SAN)
	}
	same("trigger", k.Trigger, s.BuildTrigger)
	same("runner", k.Runner, s.RunnerEnvironment)
	return out
}

// workflow compares the three places where a certificate names a workflow: the
// one that was started (build config), the one that signed (build signer), and
// the certificate's own name, which repeats the signer.
func (k Keyless) workflow(s evidence.Signer, differ func(ok bool, field, expected, found string)) {
	config := k.Repository + "/" + k.Workflow + "@" + s.SourceRepositoryRef
	differ(s.BuildConfigURI == config, "workflow", k.Repository+"/"+k.Workflow+"@"+k.Ref, s.BuildConfigURI)
	signed := s.BuildSignerURI == config
	expected := k.Repository + "/" + k.Workflow + "@" + k.Ref
	if k.Signer != "" {
		signed, expected = atRef(k.Signer, s.BuildSignerURI), k.Signer
	}
	differ(signed, "signer", expected, s.BuildSignerURI)
	if s.BuildSignerURI != "" {
		differ(s.SAN == s.BuildSignerURI, "san", s.BuildSignerURI, s.SAN)
	}
	differ(s.SANType == "uri", "san type", "uri", s.SANType)
}

// atRef compares URL@REF where only the ref is a pattern. The URL is compared
// whole, so an "@" in what was found cannot move the border.
func atRef(want, got string) bool {
	at := strings.LastIndexByte(want, '@')
	if at < 0 {
		return false
	}
	rest, ok := strings.CutPrefix(got, want[:at+1])
	return ok && rest != "" && glob(want[at+1:], rest)
}

// sanType is the kind of certificate name that a text can only be.
func sanType(san string) string {
	switch {
	case strings.Contains(san, "://"):
		return "uri"
	case strings.Contains(san, "@"):
		return "email"
	}
	return "other"
}
