package admit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// readEntry reads one entry of a lock file.
func readEntry(n form.Node) (e Entry) {
	e.Line = n.Line
	n.Fields(map[string]func(form.Node){
		"name": func(v form.Node) { e.Name = v.Text() },
		"kind": func(v form.Node) {
			word := v.OneOf(artifact.Image.String(), artifact.Model.String(), artifact.MCP.String())
			for _, k := range []artifact.Kind{artifact.Image, artifact.Model, artifact.MCP} {
				if k.String() == word {
					e.Kind = k
				}
			}
		},
		"tag":    func(v form.Node) { e.Tag = v.Text() },
		"from":   func(v form.Node) { e.From = v.Text() },
		"digest": func(v form.Node) { e.Digest = readDigest(v) },
		"platforms": func(v form.Node) {
			v.List(func(_ int, v form.Node) { e.Platforms = append(e.Platforms, readPlatform(v)) })
		},
		"signers": func(v form.Node) { e.Signers = v.Texts() },
		"evidence": func(v form.Node) {
			v.List(func(_ int, v form.Node) { e.Evidence = append(e.Evidence, readDigest(v)) })
		},
		"pin":    func(v form.Node) { e.Pin = readDigest(v) },
		"policy": func(v form.Node) { e.Policy = readDigest(v) },
		"met":    func(v form.Node) { e.Met = v.Texts() },
		"verified": func(v form.Node) {
			if e.Verified = v.Time(); e.Verified.Nanosecond() != 0 || e.Verified.Year() < 1970 || e.Verified.After(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)) {
				v.Fail(reason.FormValue, "a time in whole seconds", v.Text(), "")
			}
		},
	})
	n.Need("name", "kind", "digest", "signers", "evidence", "verified")
	e.settle(n)
	return e
}

// settle sorts what has no order of its own and refuses what repeats.
func (e *Entry) settle(n form.Node) {
	slices.Sort(e.Signers)
	slices.Sort(e.Evidence)
	slices.SortFunc(e.Platforms, func(a, b Platform) int { return strings.Compare(a.Platform, b.Platform) })
	for i := 1; i < len(e.Platforms); i++ {
		if p := e.Platforms[i].Platform; e.Platforms[i-1].Platform == p {
			n.Fail(reason.LockInvalid, "each platform once", p+" twice", "")
		}
	}
	if len(slices.Compact(slices.Clone(e.Evidence))) != len(e.Evidence) {
		n.Fail(reason.LockInvalid, "each envelope once", "one twice", "")
	}
	switch {
	case e.Name != "" && !named(e.Kind, e.Name):
		n.Fail(reason.LockInvalid, "a name of the kind "+e.Kind.String(), fmt.Sprintf("%.80q", e.Name), "")
	case e.From != "" && !local(e):
		n.Fail(reason.LockInvalid, "from: where a local "+e.Kind.String()+" lies, such as oci-layout:./DIR or model:./DIR", fmt.Sprintf("%.80q", e.From), "")
	case e.Kind == artifact.Model && len(e.Platforms) > 0:
		n.Fail(reason.LockInvalid, "no platforms for a model", "some", "")
	case len(e.Platforms) == 0 && e.Kind == artifact.Image:
		n.Fail(reason.LockInvalid, "at least one platform for an image", "none", "")
	case e.Kind != artifact.MCP && e.Pin != "":
		n.Fail(reason.LockInvalid, "a pin for servers only", "a pin for "+e.Kind.String(), "")
	}
}

// named says whether a name could have come from a reference: a normalised image
// name, or the name of something local.
func named(k artifact.Kind, name string) bool {
	ref, err := artifact.Parse(name)
	image := err == nil && ref.Scheme() == artifact.Registry && ref.Name() == name
	return k != artifact.Model && image || k != artifact.Image && artifact.CheckName(k, name) == nil
}

// local says whether from is a local reference of the entry's kind and tag; a server
// is an image too.
func local(e *Entry) bool {
	ref, err := artifact.Parse(e.From)
	if err != nil || ref.Scheme() == artifact.Registry || ref.String() != e.From || ref.Tag() != e.Tag {
		return false
	}
	return ref.Kind() == e.Kind || ref.Kind() == artifact.Image && e.Kind == artifact.MCP
}

func readPlatform(n form.Node) (p Platform) {
	n.Fields(map[string]func(form.Node){
		"platform": func(v form.Node) {
			at, err := artifact.ParsePlatform(v.Text())
			if p.Platform = at.String(); err != nil || p.Platform != v.Text() {
				v.Fail(reason.FormValue, "a platform such as linux/amd64", fmt.Sprintf("%.60q", v.Text()), "")
			}
		},
		"manifest": func(v form.Node) { p.Manifest = readDigest(v) },
	})
	n.Need("platform", "manifest")
	return p
}

func readDigest(n form.Node) digest.Digest {
	d := digest.Digest(n.Text())
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		n.Fail(reason.FormValue, "sha256: and 64 hex digits", fmt.Sprintf("%.80q", string(d)), "")
		return ""
	}
	return d
}
