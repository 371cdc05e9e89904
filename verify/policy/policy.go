// Package policy owns the policy file and the decision that follows from it:
// which signers an operator believes, what an artifact must be able to show, and
// what a box may at most be given. It is pure: no clock, file, network or
// randomness; equal inputs give equal decisions.
//
// # The file
//
// One YAML document in the subset of package form. Every key below is the whole
// list of keys that may stand there.
//
//	version: 1                        # optional
//	identities:
//	  NAME: {key: FILE | PEM, from: TIME, until: TIME}
//	  NAME: {keyless: {issuer: URL, san: PATTERN, kind: uri | email | other}}
//	  NAME: {keyless: {issuer: URL, repository: PATTERN, workflow: PATTERN, ref: PATTERN,
//	                   signer: PATTERN, trigger: PATTERN, runner: PATTERN}}
//	  NAME: {keyless: {issuer: URL, ..., unsafeRegex: {FIELD: RE2}}}
//	  NAME: {certificate: {authority: FILE | PEM, san: PATTERN, kind: uri | email | dns | other}}
//	builders:
//	  NAME: {id: URL, by: [IDENTITY], level: 1..3}
//	images: [RULE]                    # models: and servers: alike
//	deny: [DIGEST]
//	denyFeed: {file: FILE, by: [IDENTITY], maxAge: DURATION}
//	box: {...}                        # see Box
//
//	RULE:    {match: PATTERN, digests: [DIGEST], until: TIME, reason: TEXT, formats: [WORD],
//	          minimum: {version: VERSION, of: label | ref, epoch: NUMBER},
//	          layouts: [legacy-tags], require: [DEMAND]}
//	DEMAND:  exactly one of these, each with COMMON
//	  signature:       {}
//	  provenance:      {source, ref: PATTERN, builder, level, buildType, parameters: [NAME] | {NAME: VALUE}}
//	  sbom:            {covers: executables | all, exceptions: [{path, digest}]}
//	  vulnerabilities: {deny: [critical, high, medium, low]}
//	  attestation:     {type: URL, cel: EXPRESSION}
//	  pin:             {}        # servers only
//	  layout:          {product: NAME}        # in-toto; by names keys, and no logs or ages
//	COMMON:  by: [NAME] | {any: [NAME]} | {all: [NAME]}, threshold: 1..64, logs: 0..8,
//	         maxAge: DURATION, minimumAge: DURATION
//
// A key or certificate file is named relative to the policy file's folder, or
// absolutely.
//
// # Names
//
// match is compared with the whole normalised name (docker.io/library/alpine, no
// tag). "*" stands for any run of characters but "/", "**" for one or more whole
// components; nothing else is special, and there is no negation. Every rule that
// matches must pass, so the order of rules means nothing and a rule added can
// only deny more of what another allows. A name that no rule matches is denied
// (policy-no-match). A rule with digests applies only to an artifact whose
// manifest or index is one of them; a name matched by such rules alone, under
// another digest, is denied as digest-not-adopted.
//
// # Identities
//
// An identity is a key; or an issuer and a certificate name (san); or an issuer
// and the repository, workflow and ref that a build ran from; or a private
// authority and a certificate name. issuer is compared byte for byte. Every other
// field is a pattern for the whole field, in which "*" stands for any run of
// characters but "/", white space and control characters; nothing else is
// special, letter case counts, and there is no negation. But for ref, "*" also
// stands for ASCII only and never for "@", "?", "#", "%" or "\"; in a host's name
// never for ".". A pattern keeps the part that says whose it is: the scheme and
// host of a URL, and on github.com, gitlab.com and their like the owner; the
// domain of an e-mail address; the last two labels of a host's name; of a
// workflow on GitHub ".github/workflows/"; of a ref "refs/tags/" or
// "refs/heads/"; the first character of trigger and runner. Names of kind other
// are exact. kind is inferred where it is absent: "://" makes a uri, "@" an
// email, anything else other (of a private authority: kind must say).
//
// The workflow that signed must be the one that was started, unless signer names
// the reusable workflow that signs for it, as URL@REF; both are reported.
//
// unsafeRegex gives a field a regular expression instead (RE2, at most 512
// bytes), which must match the whole field and not the empty text. policy check
// tells that it is there. kind has then to be given for san.
//
// # Demands
//
// by says who must have said it: one identity; {any: [...]}, threshold of which
// are enough (one by default); or {all: [...]}, each of which is needed. A plain
// list of several needs a threshold, since it leaves open which is meant. Signers
// are counted, each for an identity of its own: one key or certificate name under two
// identities counts once, so does a key with and without a certificate, and so does one
// identity with two certificate names. logs is how many distinct transparency logs of the
// trusted root must hold the signature; a keyless one is in one log at least, whatever logs
// says, and other signatures need none. maxAge is
// counted from a moment before which the claim was not made: the start of its signer's
// certificate, or of a key what the signed statement says (the end of a build in
// provenance, the creation of an SBOM, a VSA's and an SVR's time); without either it is
// refused (claim-undated), and a demand that only keys can meet so is no policy. A log or
// timestamp authority proves the other bound alone: whoever has an old signature can
// have it logged or stamped anew. For vulnerabilities it is always counted from the end
// of the scan, which the report's signer states. minimumAge is counted from the proved time for
// every demand, and from nothing that the image says: a claim younger than that waits
// (claim-too-young), one without a proved time never passes. A signature demand is met by cosign's signature predicate
// (by OpenSSF's for models), never by another attestation of the same signer. Every
// other demand about a model is met by a statement whose subject is the model's digest
// (package model). No file of a model may be executed, so that covers: executables
// asks there for shared objects alone.
//
// A layout demand is met by an in-toto layout that threshold of by signed, whose
// steps were all done as it prescribes (package steps), and whose last step made a
// product of that name with the sha256 of the artifact: of its manifest or index, or
// a model's digest.
//
// # Provenance
//
// SLSA provenance v1 and v0.2 are held to the same terms. Where the build was
// started from is read from one place: for GitHub's build types from the
// parameter workflow, for BuildKit's (and for v0.2 of any) from configSource,
// else from the parameter source, else from the only git dependency. ref takes
// the patterns that an identity's ref takes. A certificate that names a workflow,
// a repository or a ref must agree with it, and so must every git dependency on
// the same repository.
//
// Each external parameter of the build must be named; null, {} and [] are no
// parameter. A list gives names, with any value; a mapping gives the value, too,
// which must be there and equal: text, an integer, true or false, lists and
// mappings of these, compared whole. The parameter that names the source (workflow,
// configSource, source; entryPoint for v0.2, whose other parameters are
// invocation.parameters) needs no mention while it holds nothing else, as source
// and ref are held to it.
//
// # Attestations
//
// A predicate of a known type must be read whole, and where it has a result that
// must be a good one, whatever the condition says: SLSA verification summaries v1
// (verificationResult PASSED; resourceUri and the policy's digest are needed),
// in-toto's test results v0.1 (PASSED, with no failed test; WARNED is no pass),
// simple verification results v0.1 and v0.2 (at least one property), releases
// v0.1 and v0.2, SCAI reports v0.2 and v0.3, and the types of the other demands.
// type must name a version that is read, where its family is known.
// cel is a condition over the statement and its signer: see package cel. Whether a
// summary's resourceUri is the artifact's name is for a condition to say.
//
// vulnerabilities takes in-toto's reports v0.1 and v0.2, and cosign's with the
// result of Trivy, Grype or a SARIF writer in it. A severity that is not known
// counts as denied.
//
// # Beside the decision
//
// Schema describes the file for editors, Lint finds what a policy says and cannot
// mean, Explain says it in words, and Rehearse asks what it would say of claims that
// nobody proved: package fixture writes such down. None of these admits anything.
//
// # Floors
//
// minimum refuses what is older than a version (SemVer 2.0.0: a pre-release is older
// than its release, build metadata means nothing, a v before it is allowed) or than
// an epoch, a whole number that publishers raise when nothing before may run again.
// The version is the label org.opencontainers.image.version of the image's
// configuration, the epoch its label io.github.ztlaunch.epoch: the configuration is
// bound by the manifest, and that by whatever was signed. With of: ref the version is
// that of the tag refs/tags/VERSION that was built, as each claim says that met a
// provenance demand of the rule (in a rule without one: a signature demand): the ref
// that the build was started from, else the ref in the signer's certificate.
// Annotations, which nobody need have signed, are never asked. Models have no
// version that is signed, so they take no minimum.
//
// # The deny feed
//
// A file that is signed and lies beside the policy or elsewhere on the host takes
// back what rules would allow, and beats all of them, locks and adoptions too. It is
// one JSON object of at most 4 MiB, without duplicate or unknown members and null:
//
//	{"schema": "ztlaunch.deny/v1", "serial": NUMBER, "issued": TIME, "until": TIME,
//	 "digests":      [{"digest": "sha256:HEX", "reason": TEXT}],
//	 "signers":      [{"key": "sha256:HEX", "since": TIME, "reason": TEXT},
//	                  {"issuer": TEXT, "san": TEXT, "since": TIME, "reason": TEXT},
//	                  {"authority": "sha256:HEX", "san": TEXT, "since": TIME, "reason": TEXT}],
//	 "certificates": [{"sha256": HEX, "reason": TEXT}],
//	 "logs":         [{"id": HEX, "since": TIME, "reason": TEXT}]}
//
// Times are RFC 3339, until is after issued, serial is 1 to 2^53-1. Each list may be
// missing, no list names a thing twice, and each entry has a reason of 1 to 1024
// bytes. digests are those of manifests, indexes, configurations, layers as they are
// stored or unpacked, and files of models; an index denies what is resolved through it,
// and not a manifest of it that is asked for by itself. A signer is a key by its name (see package
// trust), or the issuer, or the private authority by its root's name, and the name in a
// certificate, byte for byte but for "*" in the name, which stands for anything: who
// stole a workflow tags as they like. A certificate is
// named by the SHA-256 of its DER form, and takes everything with it that it may have
// issued. A log is named by its ID in a trusted root, in hex; a claim does not count
// when every log that holds it is named, or every witness of its time, and a log that is
// named is none of those that logs: asks for. A signer who is named did no step of an
// in-toto layout. since is optional, and spares what was signed
// before it as far as that is proved by somebody other than a log that the feed names.
//
// The signature is a Sigstore bundle FILE.sigstore.json over the file's bytes, as
// cosign sign-blob and ztlaunch sign make it, by one of by:. The feed must be as
// young as maxAge, counted from issued, and not past its own until; and it is never
// older than one that ztlaunch saw before. A policy that names a feed denies everything
// without it.
//
// # Layouts
//
// A claim counts as it is kept: a bundle for every rule, and what cosign up to
// version 2 kept under the tags sha256-HEX.sig and .att (evidence.Claim.Legacy) only
// for a rule of images or servers with layouts: [legacy-tags]; for any other it is
// as if it were not there, and a demand that it would have met is denied as
// layout-not-named. It counts only where bundles do not do, and only if every place
// was asked: a demand that is met with its help while discovery was incomplete is
// denied as evidence-unreachable, so that whoever can make a registry fail gains
// nothing by it.
//
// What is not checked: that a signature is genuine (package evidence makes
// Claims, and package steps Outcomes), that the tree is the artifact's (the caller's word), and whether an
// operator should believe an identity.
package policy

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Policy is one policy file, read and linted. Parse and OneRun make it; the
// zero value is refused by Evaluate.
type Policy struct {
	path       string
	raw        []byte
	sum        digest.Digest
	identities []Identity
	builders   []builder
	rules      []rule
	deny       []digest.Digest
	feed       feedTerms
	box        Box
}

// rule is one entry of images, models or servers.
type rule struct {
	kind    artifact.Kind
	where   string // "images[0]"
	line    int
	match   pattern
	digests []digest.Digest
	until   time.Time
	reason  string
	formats []string
	floor   floor
	legacy  bool // layouts: [legacy-tags]
	demands []demand
}

// word is the kind of a demand, as the file spells it.
type word string

const (
	signature       word = "signature"
	provenance      word = "provenance"
	bill            word = "sbom"
	vulnerabilities word = "vulnerabilities"
	attestation     word = "attestation"
	pin             word = "pin"
	layout          word = "layout"
)

// demand is one entry of require.
type demand struct {
	word  word
	where string // "images[0].require[1].provenance"
	line  int
	who
	logs   int           // distinct transparency logs that must hold the signature
	maxAge time.Duration // 0 = any

	minimumAge time.Duration // 0 = none
	legacy     bool          // the rule's layouts

	build      buildTerms    // provenance
	coverage   coverageTerms // sbom
	severities []string      // vulnerabilities
	kind       string        // attestation: the predicate type
	expression expression    // attestation
	product    string        // layout
}

// Zero reports whether the policy was made by anything but this package.
func (p Policy) Zero() bool { return p.sum == "" }

// Path is the file that the policy was read from, as given to Parse.
func (p Policy) Path() string { return p.path }

// Text is the file as it was read.
func (p Policy) Text() []byte { return slices.Clone(p.raw) }

// Digest covers the file's bytes and every key and authority that it names.
func (p Policy) Digest() digest.Digest { return p.sum }

// Box is the ceiling of what a run may be given.
func (p Policy) Box() Box { return p.box.clone() }

// Identities are the identities by name.
func (p Policy) Identities() []Identity { return slices.Clone(p.identities) }

// Keys are the public keys that evidence must be proved with: pass them to
// trust.Root.With.
func (p Policy) Keys() []trust.Key {
	var keys []trust.Key
	for _, id := range p.identities {
		if !id.key.Zero() {
			keys = append(keys, id.key)
		}
	}
	return keys
}

// Authorities are the private authorities that evidence must be proved with:
// pass them to trust.Root.WithAuthorities.
func (p Policy) Authorities() []trust.Authority {
	var out []trust.Authority
	for _, id := range p.identities {
		if !id.certificate.zero() {
			out = append(out, id.certificate.Authority)
		}
	}
	return out
}

// Keyless reports whether anything needs a Sigstore root: a keyless identity, a
// demand for transparency logs, or one for a time that somebody else proves.
func (p Policy) Keyless() bool {
	return slices.ContainsFunc(p.identities, func(id Identity) bool { return id.key.Zero() && id.certificate.zero() }) ||
		slices.ContainsFunc(p.rules, func(r rule) bool {
			return slices.ContainsFunc(r.demands, func(d demand) bool {
				return d.logs > 0 || d.minimumAge > 0
			})
		})
}

// sum binds the file's bytes, the keys and the authorities, in the order of their
// names.
func sum(raw []byte, identities []Identity) digest.Digest {
	var b bytes.Buffer
	fmt.Fprintf(&b, "ztlaunch.policy/v1\n%s\n", digest.FromBytes(raw))
	for _, id := range identities {
		if !id.key.Zero() {
			from, until := id.key.Window()
			fmt.Fprintf(&b, "%q %s %d %d\n", id.name, id.key.ID(), from.Unix(), until.Unix())
		}
		if !id.certificate.zero() {
			fmt.Fprintf(&b, "%q authority %s\n", id.name, id.certificate.Authority.Sum())
		}
	}
	return digest.FromBytes(b.Bytes())
}
