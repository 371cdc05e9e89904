package verify

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/model"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Model verifies an OpenSSF-signed model folder and what else is said about it: the
// bundles in DIR.intoto.jsonl, if that is there, and in the files that in.Fetch names,
// each proved against the artifact's digest as an image's are. A file of them that
// cannot be read is an error, whatever the policy demands.
//
// The signature says which files the model is. Without one, or with one that does
// not prove, there is no artifact to decide about, and that is an error even where a
// policy demands something else only. Folder is where the files of the Report's Tree
// lie; they are read again, and hashed again, by whoever mounts them.
func Model(ctx context.Context, ref artifact.Reference, in Inputs) (r Report, folder string, err error) {
	input, attached, folder, err := folded(ctx, ref, in)
	if err != nil {
		return Report{}, "", err
	}
	return Report{Artifact: input.Artifact, Tree: input.Tree, Attachments: attached, Claims: input.Claims,
		Decision: policy.Evaluate(in.Policy, input), Local: true}, folder, nil
}

// folded is everything about a model that is held against a policy.
func folded(ctx context.Context, ref artifact.Reference, in Inputs) (input policy.Input, attached []fetch.Attachment, folder string, err error) {
	raw, from, err := model.Signature(ref.Path())
	if err != nil {
		return input, nil, "", err
	}
	if attached, err = beside(ref.Path(), in.Fetch.Evidence); err != nil {
		return input, nil, "", err
	}
	found, err := model.Verify(ctx, raw, in.Root, in.Now, model.Options{Ref: ref, Signature: from})
	if err != nil {
		return input, nil, "", err
	}
	input = policy.Input{Artifact: found.Artifact, Tree: found.Tree, Now: in.Now, Purpose: in.Purpose, Root: in.Root.Digest(), Feed: in.Feed}
	input.Places = places(attached)
	input.Claims, input.Unproved = prove(attached, in.Root, found.Artifact.Subjects(), in.Now)
	input.Claims = append([]evidence.Claim{found.Claim}, input.Claims...)
	input.Layout, input.LayoutRefused = layout(in)
	input.Coverages, err = coverages(input.Claims, input.Tree, in.Fetch.Store)
	return input, attached, found.Folder, err
}

// beside reads the evidence about a model: the file beside it, and those named.
func beside(path string, named []string) ([]fetch.Attachment, error) {
	at, err := model.Evidence(path)
	if err != nil {
		return nil, err
	}
	switch _, err := os.Lstat(at); {
	case err == nil:
		named = append([]string{at}, named...)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, &reason.Error{Code: reason.EvidenceUnreadable, What: "read evidence " + at, Err: err}
	}
	return fetch.Detached(named...)
}
