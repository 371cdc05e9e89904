package fetch

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// kept is what the store remembers of an earlier resolution, as a record named
// "image NAME@DIGEST PLATFORM". A record "tag NAME:TAG" holds the digest that
// the tag led to, and nothing else.
type kept struct {
	Version  int          `json:"version"`
	Root     descriptor   `json:"root"`
	Evidence []keptBundle `json:"evidence"`
	Complete bool         `json:"complete"` // the search met no problem
}

type keptBundle struct {
	Attachment
	Bundle bool `json:"bundle"` // the store has Raw under Digest
}

// recordVersion changes with what a search reads: version 1 lists cosign's older
// tags without what is under them, and is looked at again.
const recordVersion = 2

func imageRecord(name string, root digest.Digest, p artifact.Platform) string {
	return "image " + name + "@" + string(root) + " " + p.String()
}

func tagRecord(name, tag string) string { return "tag " + name + ":" + tag }

// recall reads the records for the reference. A forged one counts as absent
// and is a problem of the result.
func (s *session) recall() error {
	root := s.ref.Digest()
	if root == "" && s.o.Pull != Always {
		raw, ok, err := s.lookup(tagRecord(s.ref.Name(), s.ref.Tag()))
		if err != nil {
			return err
		}
		if ok {
			root = digest.Digest(raw)
		}
	}
	if root == "" {
		return nil
	}
	if content.CheckDigest(root) != nil {
		return refuse(reason.InternalFault, "read record of "+s.ref.String(), "a digest", fmt.Sprintf("%.100q", string(root)))
	}
	s.kept.Root = descriptor{Digest: root, Size: -1}
	raw, ok, err := s.lookup(imageRecord(s.ref.Name(), root, s.o.Platform))
	if err != nil || !ok {
		return err
	}
	var k kept
	if err := json.Unmarshal(raw, &k); err != nil || k.Version != recordVersion || k.Root.Digest != root {
		return nil //nolint:nilerr // written by another version: look again
	}
	s.kept = k
	return nil
}

func (s *session) lookup(name string) ([]byte, bool, error) {
	raw, ok, err := s.o.Store.Ref(name)
	if e, found := reason.Of(err); found && e.Code == reason.KeptForged {
		s.problems = append(s.problems, Problem{Where: Stored, Err: e})
		return nil, false, nil
	}
	return raw, ok, err
}

// record remembers a result that a registry had a part in.
func (s *session) record(res Result) error {
	if !s.stored || !s.asked {
		return nil
	}
	complete := !slices.ContainsFunc(res.Problems, func(p Problem) bool { return p.Where != Stored && p.Where != File })
	return keep(s.o.Store, s.ref, s.o.Platform, kept{Version: recordVersion, Complete: complete,
		Root: descriptor{Digest: res.Root.Digest, MediaType: res.Root.MediaType, Size: res.Root.Size}, Evidence: bundles(res.Attachments)})
}

// bundles is what is remembered of attachments: all but detached files, which
// are read anew from where the caller says.
func bundles(all []Attachment) []keptBundle {
	var out []keptBundle
	for _, a := range all {
		if a.Where != File && a.Where != InIndex {
			out = append(out, keptBundle{a, a.Raw != nil})
		}
	}
	return out
}

func keep(st *content.Store, ref artifact.Reference, p artifact.Platform, k kept) error {
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := st.SetRef(imageRecord(ref.Name(), k.Root.Digest, p), raw); err != nil {
		return err
	}
	if ref.Digest() != "" || ref.Tag() == "" {
		return nil
	}
	return st.SetRef(tagRecord(ref.Name(), ref.Tag()), []byte(k.Root.Digest))
}

// Keep records in the store that the registry name ref is the image in res,
// with evidence made by the caller besides what res found: what adopting an
// image does. With Missing and Never, Resolve then answers from the store. The
// reference may have a tag or a digest; the digest must be res.Root's.
func Keep(o Options, ref artifact.Reference, res Result, evidence ...Attachment) error {
	what := "keep " + ref.String()
	if ref.Scheme() != artifact.Registry || ref.Zero() {
		return refuse(reason.ReferenceNotImage, what, "an image name", ref.String())
	}
	if res.Artifact.Zero() || o.Store == nil {
		return refuse(reason.InternalFault, what, "a resolved image and a store", "none")
	}
	if d := ref.Digest(); d != "" && d != res.Root.Digest {
		return refuse(reason.MismatchManifest, what, string(d), string(res.Root.Digest))
	}
	all := slices.Clone(res.Attachments)
	for i := range all {
		all[i].Where = Stored
	}
	for _, a := range evidence {
		a.Where = Stored
		all = append(all, a)
	}
	for i, a := range all {
		if a.Raw == nil {
			continue
		}
		d, err := o.Store.PutBytes(a.Raw)
		if err != nil {
			return err
		}
		all[i].Digest = d
	}
	return keep(o.Store, ref, res.Artifact.Platform(), kept{Version: recordVersion, Complete: true,
		Root: descriptor{Digest: res.Root.Digest, MediaType: res.Root.MediaType, Size: res.Root.Size}, Evidence: bundles(all)})
}
