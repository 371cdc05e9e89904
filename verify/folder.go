package verify

import (
	"context"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/model"
	"github.com/ztlaunch/ztlaunch/verify/policy"
)

// Model verifies an OpenSSF-signed model folder. Folder is where the files of
// the Report's Tree lie; they are read again, and hashed again, by whoever mounts
// them.
func Model(ctx context.Context, ref artifact.Reference, in Inputs) (r Report, folder string, err error) {
	raw, from, err := model.Signature(ref.Path())
	if err != nil {
		return Report{}, "", err
	}
	found, err := model.Verify(ctx, raw, in.Root, in.Now, model.Options{Ref: ref, Signature: from})
	if err != nil {
		return Report{}, "", err
	}
	r = Report{Artifact: found.Artifact, Tree: found.Tree, Claims: []evidence.Claim{found.Claim}, Local: true}
	input := policy.Input{Artifact: r.Artifact, Tree: r.Tree, Claims: r.Claims, Now: in.Now, Purpose: in.Purpose, Root: in.Root.Digest(), Feed: in.Feed}
	input.Layout, input.LayoutRefused = layout(in)
	r.Decision = policy.Evaluate(in.Policy, input)
	return r, found.Folder, nil
}
