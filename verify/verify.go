// Package verify is the story of verification, in order and in short: resolve a
// reference to digests, read what the image would show a task, prove who said
// what about it (bundles, what cosign 2 kept, and the steps of an in-toto layout
// that was given), and decide by policy and by the deny feed that it names. A model
// goes the same way: its folder is hashed, held against its signature, and what else
// is said about it is proved as an image's is.
//
// Each step belongs to a package of its own; this one only says which comes
// after which, and keeps what was derived from verified bytes under the digests
// of those bytes, so that a second decision about the same image reads no layer
// again. Signatures, policy and time are always judged anew.
//
// It prints nothing, logs nothing and launches nothing. A step that did not run
// is an error or a finding, never a pass.
package verify

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/sbom"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
	"github.com/ztlaunch/ztlaunch/verify/tree"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Scanner reads one uncompressed layer. A launcher gives one that keeps the
// bytes at hand; nil is tree.Scan, which hashes them and forgets them.
type Scanner interface {
	Scan(r io.Reader, diffID digest.Digest, limits tree.Limits) (tree.Layer, error)
}

// Inputs are everything that a decision depends on besides the reference.
type Inputs struct {
	Fetch   fetch.Options
	Policy  policy.Policy
	Feed    policy.Feed // that the policy believes, if it names one
	Root    trust.Root
	Now     time.Time
	Purpose policy.Purpose
	Scan    Scanner
	Layout  steps.Files // an in-toto layout that was given, and its links
}

// Report is what verification found.
type Report struct {
	Artifact    artifact.Artifact
	Tree        tree.Tree
	Attachments []fetch.Attachment
	Claims      []evidence.Claim
	Decision    policy.Decision
	Local       bool // no socket was opened
}

// Image verifies an image. An error means that no decision could be made; a
// decision that denies is no error.
func Image(ctx context.Context, ref artifact.Reference, in Inputs) (Report, error) {
	found, err := fetch.Resolve(ctx, ref, in.Fetch)
	if err != nil {
		return Report{}, err
	}
	input, err := gather(found, in)
	if err != nil {
		return Report{}, err
	}
	return Report{Artifact: found.Artifact, Tree: input.Tree, Attachments: found.Attachments, Claims: input.Claims,
		Decision: policy.Evaluate(in.Policy, input), Local: found.Local}, nil
}

// Gather is everything that Image or Model would hold against a policy, for one that
// is yet to be written.
func Gather(ctx context.Context, ref artifact.Reference, in Inputs) (policy.Input, error) {
	if ref.Kind() == artifact.Model {
		input, _, _, err := folded(ctx, ref, in)
		return input, err
	}
	found, err := fetch.Resolve(ctx, ref, in.Fetch)
	if err != nil {
		return policy.Input{}, err
	}
	return gather(found, in)
}

func gather(found fetch.Result, in Inputs) (policy.Input, error) {
	t, err := Tree(found.Artifact, in.Fetch.Store, in.Scan)
	if err != nil {
		return policy.Input{}, err
	}
	input := policy.Input{Artifact: found.Artifact, Tree: t, Now: in.Now, Purpose: in.Purpose, Root: in.Root.Digest(), Feed: in.Feed}
	for _, p := range found.Problems {
		input.Problems = append(input.Problems, p.Err)
	}
	input.Places = places(found.Attachments)
	input.Claims, input.Unproved = prove(found.Attachments, in.Root, found.Artifact.Subjects(), in.Now)
	input.Layout, input.LayoutRefused = layout(in)
	input.Coverages, err = coverages(asked(input.Claims, in.Policy), t, in.Fetch.Store)
	return input, err
}

// places says where each envelope was found.
func places(attached []fetch.Attachment) map[digest.Digest]string {
	all := map[digest.Digest]string{}
	for _, a := range attached {
		if a.Raw != nil {
			all[a.Digest] = a.From
		}
	}
	return all
}

// prove checks every envelope. One that does not prove stays in the input, with
// its reason: a policy decides what that means.
func prove(attached []fetch.Attachment, root trust.Root, subjects []digest.Digest, now time.Time) (proved []evidence.Claim, unproved []policy.Unproved) {
	for _, a := range attached {
		if a.Raw == nil {
			continue
		}
		u := policy.Unproved{Envelope: a.Digest, Where: string(a.Where)}
		envelope, err := evidence.Parse(a.Raw)
		if err == nil {
			u.Type = envelope.PredicateType()
			var claim evidence.Claim
			if claim, err = evidence.Check(envelope, root, subjects, now); err == nil {
				proved = append(proved, claim)
				continue
			}
		}
		var ok bool
		if u.Err, ok = reason.Of(err); !ok {
			u.Err = &reason.Error{Code: reason.InternalFault, What: "prove " + a.Digest.String(), Err: err}
		}
		unproved = append(unproved, u)
	}
	return proved, unproved
}

// layout checks the in-toto layout that was given. One that does not prove is no
// error: a policy decides what that means.
func layout(in Inputs) (steps.Outcome, *reason.Error) {
	if in.Layout.Zero() {
		return steps.Outcome{}, nil
	}
	o, err := steps.Check(in.Layout, in.Root.Keys(), in.Now)
	if err == nil {
		return o, nil
	}
	why, ok := reason.Of(err)
	if !ok {
		why = &reason.Error{Code: reason.InternalFault, What: "check the in-toto layout", Err: err}
	}
	return steps.Outcome{}, why
}

// treeKind names how a Tree is derived from layers; it changes with the rules of
// package tree.
const treeKind = "tree/2"

// Tree is what the image would show a task, skeleton included. The store keeps
// it under the layers' digests.
func Tree(a artifact.Artifact, store *content.Store, scan Scanner) (tree.Tree, error) {
	layers := a.Layers()
	inputs := make([]digest.Digest, 0, 2*len(layers))
	for _, l := range layers {
		inputs = append(inputs, l.Digest, l.DiffID)
	}
	if kept, ok, err := store.Kept(treeKind, inputs); err == nil && ok {
		if t, err := tree.Open(kept); err == nil {
			if scan != nil { // whoever keeps the bytes at hand will ask for every entry
				t.Begin()
			}
			return t, nil
		}
	}
	scanned := make([]tree.Layer, len(layers))
	for i, l := range layers {
		var err error
		if scanned[i], err = layer(l, store, scan); err != nil {
			return tree.Tree{}, err
		}
	}
	merged, err := tree.Merge(scanned)
	if err != nil {
		return tree.Tree{}, err
	}
	whole, err := merged.Skeleton()
	if err != nil {
		return tree.Tree{}, err
	}
	return whole, store.Keep(treeKind, inputs, whole.Encode())
}

// layer reads one stored layer: the compressed stream proves its digest, the
// uncompressed one its diffID.
func layer(l artifact.Layer, store *content.Store, scan Scanner) (tree.Layer, error) {
	packed, err := fetch.Layer(store, l)
	if err != nil {
		return tree.Layer{}, err
	}
	defer packed.Close()
	plain, err := tree.Decompress(packed, l.MediaType, tree.Limits{})
	if err != nil {
		return tree.Layer{}, err
	}
	defer plain.Close()
	if scan == nil {
		return tree.Scan(plain, l.DiffID, tree.Limits{})
	}
	return scan.Scan(plain, l.DiffID, tree.Limits{})
}

// coverageKind names how an SBOM is held against a Tree.
const coverageKind = "coverage/1"

// asked are the claims that a policy asks for an SBOM; all without a policy. What
// anybody else wrote, and a keyless signer is anybody, is not worth its reading.
func asked(claims []evidence.Claim, p policy.Policy) []evidence.Claim {
	if p.Zero() {
		return claims
	}
	return slices.DeleteFunc(slices.Clone(claims), func(c evidence.Claim) bool { return !p.AsksSBOM(c.Signer()) })
}

// coverages holds each proved SBOM against the Tree. The store keeps the result
// under both digests.
func coverages(claims []evidence.Claim, t tree.Tree, store *content.Store) (map[digest.Digest]sbom.Coverage, error) {
	found := map[digest.Digest]sbom.Coverage{}
	for _, c := range claims {
		if !policy.IsSBOM(c.PredicateType()) {
			continue
		}
		inputs := []digest.Digest{c.Envelope(), t.Digest()}
		if kept, ok, err := store.Kept(coverageKind, inputs); err == nil && ok {
			if coverage, err := sbom.DecodeCoverage(kept); err == nil {
				found[c.Envelope()] = coverage
				continue
			}
		}
		if err := t.Wait(); err != nil {
			return nil, err
		}
		coverage, err := policy.Cover(c, t)
		if err != nil {
			continue // the rule that needs it reports sbom-malformed
		}
		found[c.Envelope()] = coverage
		if err := store.Keep(coverageKind, inputs, coverage.Encode()); err != nil {
			return nil, err
		}
	}
	return found, nil
}
