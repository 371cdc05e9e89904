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
//	  NAME: {keyless: {issuer: URL, san: TEXT}}
//	  NAME: {keyless: {issuer: URL, repository: OWNER/REPO | URL, workflow: PATH, ref: PATTERN,
//	                   signer: URL, trigger: WORD, runner: WORD}}
//	builders:
//	  NAME: {id: URL, by: [IDENTITY], level: 1..3}
//	images: [RULE]                    # models: and servers: alike
//	deny: [DIGEST]
//	box: {...}                        # see Box
//
//	RULE:    {match: PATTERN, digests: [DIGEST], until: TIME, reason: TEXT, formats: [WORD], require: [DEMAND]}
//	DEMAND:  exactly one of
//	  signature:       {by, threshold, maxAge}
//	  provenance:      {by, threshold, maxAge, source, builder, level, buildType, parameters: [NAME]}
//	  sbom:            {by, threshold, maxAge, covers: executables | all, exceptions: [{path, digest}]}
//	  vulnerabilities: {by, threshold, maxAge, deny: [critical, high, medium, low]}
//	  attestation:     {by, threshold, maxAge, type: URL, cel: EXPRESSION}
//	  pin:             {by, threshold, maxAge}        # servers only
//	  layout:          {by, threshold, product: NAME} # in-toto; by names keys
//
// A key file is named relative to the policy file's folder, or absolutely.
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
// Every field is compared for equality, byte for byte, except ref, where "*"
// stands for any run of characters but "/", and the ref at the end of signer.
// There are no regular expressions. An identity names a key; or an issuer and a
// certificate name (san); or an issuer and the repository, workflow and ref that
// a build ran from. The workflow that signed must be that workflow itself,
// unless signer names the reusable workflow that signs for it.
//
// # Demands
//
// by names identities; threshold of them (one by default) must have said it,
// each by a signer of its own: one key or certificate name under two identities
// counts once, and so does one identity with two certificate names. maxAge is
// counted from the time a log or timestamp authority proves, never from the time
// a signer writes; only for vulnerabilities it is counted from the end of the scan,
// which the report's signer states. A signature demand is met by cosign's signature predicate
// (by OpenSSF's for models), never by another attestation of the same signer.
//
// A layout demand is met by an in-toto layout that threshold of by signed, whose
// steps were all done as it prescribes (package steps), and whose last step made a
// product of that name with the sha256 of the artifact: of its manifest or index, or
// a model's digest.
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
	word      word
	where     string // "images[0].require[1].provenance"
	line      int
	by        []Identity
	threshold int
	maxAge    time.Duration // 0 = any

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

// Digest covers the file's bytes and every key that it names.
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

// Keyless reports whether any identity needs a Sigstore root.
func (p Policy) Keyless() bool {
	return slices.ContainsFunc(p.identities, func(id Identity) bool { return id.key.Zero() })
}

// sum binds the file's bytes and the keys, in the order of their names.
func sum(raw []byte, identities []Identity) digest.Digest {
	var b bytes.Buffer
	fmt.Fprintf(&b, "ztlaunch.policy/v1\n%s\n", digest.FromBytes(raw))
	for _, id := range identities {
		if !id.key.Zero() {
			from, until := id.key.Window()
			fmt.Fprintf(&b, "%q %s %d %d\n", id.name, id.key.ID(), from.Unix(), until.Unix())
		}
	}
	return digest.FromBytes(b.Bytes())
}
