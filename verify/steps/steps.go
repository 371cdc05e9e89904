// Package steps proves that an artifact came about in the steps that an in-toto
// layout prescribes, each done by those whom the layout names. It runs nothing:
// a layout is a program for the verifier's host only in what this package
// refuses.
//
// # Files
//
// A layout is a JSON file in one of two forms, at most 4 MiB: in-toto's own,
// {"signed": LAYOUT, "signatures": [{"keyid", "sig": HEX}]}, signed over the
// canonical JSON (OLPC) of what stands under signed; or a DSSE envelope of
// payload type application/vnd.in-toto+json around LAYOUT. Links have the same
// two forms around LINK. They lie in one folder, as in-toto names them:
// STEP.KEYID.link, where KEYID is the first eight hex digits of the signer's key
// id; those of a sublayout in the folder STEP.KEYID beside it. A link file is at
// most 4 MiB; 1024 of them, and 64 MiB in all, are read.
//
// Equal keys, keys that differ in case alone, unknown members, trailing data and
// more than 64 levels are refused, and so is what in-toto-golang would crash on or
// take in a way of its own: rules that are no rules, patterns that do not parse,
// names that are no clean paths or hold unprintable runes, artifacts without
// sha256, private keys, keys that package trust would not believe, two signatures
// under one key id.
//
// # Checking (in-toto specification v1.0, section 5)
//
//  1. The signatures of the layout are tried with each key that the caller
//     trusts; the key id beside a signature selects nothing. At least one must be
//     right; the Outcome says which keys signed, and policy says which must have.
//  2. The time that the caller gives must lie before expires.
//  3. inspect must be empty: inspections are commands that in-toto runs on the
//     verifier's host. There must be a step; each threshold is at least one;
//     functionaries are keys. cert_constraints are refused: a link carries no
//     proved time, so nobody could tell whether a certificate was valid, or
//     already revoked, when it signed.
//  4. Both rule lists of each step must end in DISALLOW *, or be empty; an empty
//     list allows nothing, so the links of such a step must then report no
//     materials, or no products. (in-toto lets pass whatever no rule consumed.)
//  5. A link counts for a step if it names that step itself, if its signer is
//     among the step's pubkeys, and if the signature is right. Threshold many
//     must count, by distinct keys: one key under several ids is one functionary.
//     A link that does not count changes nothing if there are enough others; one
//     that cannot be parsed is refused.
//  6. In place of a link a functionary may give a sublayout, at most four deep.
//     It is held to all of this, with that functionary's key as the layout's; its
//     materials are those of its first step and its products those of its last.
//  7. All links of a step must report the same materials and the same products.
//  8. The rules of each step are applied to them in order: MATCH, ALLOW, CREATE,
//     DELETE, MODIFY, REQUIRE, DISALLOW. A MATCH that is limited by IN must not
//     consume what lies outside of that folder; in-toto-golang lets it, so such a
//     step is refused.
//
// The products of the last step are the products of the whole.
//
// # What it does not check
//
// expected_command: a functionary reports her own command, so comparing it proves
// nothing, and in-toto only warns. Whether the signers of the layout are the right
// ones, and whether a product is the artifact in question, is for package policy.
// Nobody proves when a link was signed.
package steps

import (
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Type is what a layout is called beside the predicate types of attestations. in-toto
// has no such type for one.
const Type = "in-toto layout"

// Files are a layout and its links, as they were read; nothing of them is proved
// or even parsed. Links are named by their path below the folder of links:
// "build.0123abcd.link", "build.0123abcd/compile.4567cdef.link".
type Files struct {
	Layout []byte
	Links  map[string][]byte
}

// Zero says that no layout was given.
func (f Files) Zero() bool { return f.Layout == nil }

// Step is one step that was done as its layout prescribes.
type Step struct {
	Name          string   // "build"; "build/compile" for a step of a sublayout
	Functionaries []string // trust.Key IDs of who did it, sorted
	Threshold     int      // how many had to
}

// Outcome is a layout whose steps were all done as it prescribes. Only Check
// makes one, and Suppose one that is marked; the zero value says nothing.
type Outcome struct {
	layout   digest.Digest
	signers  []string
	steps    []Step
	products map[string]digest.Digest
	until    time.Time
	supposed bool // by Suppose, which proves nothing
}

// Zero says that nothing was proved.
func (o Outcome) Zero() bool { return o.layout == "" }

// Layout is the digest of the layout file.
func (o Outcome) Layout() digest.Digest { return o.layout }

// Signers are the trust.Key IDs of who signed the layout, of those whom the
// caller trusts; sorted, each once.
func (o Outcome) Signers() []string { return slices.Clone(o.signers) }

// Steps are all steps in the order of the layout, those of a sublayout before
// the step that they do.
func (o Outcome) Steps() []Step {
	all := slices.Clone(o.steps)
	for i := range all {
		all[i].Functionaries = slices.Clone(all[i].Functionaries)
	}
	return all
}

// Products are what the last step made, by name.
func (o Outcome) Products() map[string]digest.Digest { return maps.Clone(o.products) }

// Until is the first moment at which the layout or a sublayout has expired.
func (o Outcome) Until() time.Time { return o.until }
