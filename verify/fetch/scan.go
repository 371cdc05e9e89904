package fetch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// candidate is a manifest with a subject, or one that is too damaged to tell.
type candidate struct {
	referrer
	subject digest.Digest // of what cosign marks as signatures: empty is any
	listed  bool          // in index.json
	damaged []byte        // what is there instead, if subject is empty
}

// referrers looks at every manifest of the layout, listed in index.json or
// not: `cosign save` writes bundles that index.json does not list. What is
// damaged is handed over too if it may have referred to the subject: reading
// it as evidence will say what is wrong.
func (l *layout) referrers(_ context.Context, subject digest.Digest) ([]referrer, []Problem) {
	if !l.scanned {
		l.scanned = true
		l.scan()
	}
	var list []referrer
	for _, c := range l.found {
		switch {
		case c.Digest == subject:
		case c.subject == subject,
			c.subject == "" && c.where == LegacyTag,
			c.subject == "" && (c.listed || bytes.Contains(c.damaged, []byte(subject.Encoded()))):
			list = append(list, c.referrer)
		}
	}
	return list, l.problems
}

func (l *layout) scan() {
	seen := map[digest.Digest]bool{}
	for _, m := range l.index.Manifests {
		kind := m.Annotations[kindAnnotation]
		old, isOld := l.legacy(m, kind)
		switch {
		case isOld:
			l.found = append(l.found, old)
		case kind != kindImage && isManifest(m.MediaType) && !seen[m.Digest]:
			l.look(m, true)
		}
		seen[m.Digest] = true
	}
	names, err := l.files.list("blobs/sha256")
	if err != nil {
		l.problems = []Problem{{Layout, &reason.Error{Code: reason.LayoutUnreadable, What: "list blobs of " + l.name(), Err: err}}}
		return
	}
	if len(names) > maxScan {
		l.problems = []Problem{{Layout, refuse(reason.ReferrersTooMany, "list blobs of "+l.name(), fmt.Sprintf("at most %d", maxScan), "more")}}
		return
	}
	slices.Sort(names)
	for _, name := range names {
		d := descriptor{Digest: digest.Digest("sha256:" + name)}
		if content.CheckDigest(d.Digest) != nil || seen[d.Digest] {
			continue
		}
		var ok bool
		if d.Size, ok = l.looksJSON(name); ok {
			l.look(d, false)
		}
	}
}

// legacy reads an entry of index.json as what cosign up to version 2 kept: under
// its tag, or as cosign save marks it.
func (l *layout) legacy(m descriptor, kind string) (candidate, bool) {
	name := m.Annotations[ocispec.AnnotationRefName]
	c := candidate{listed: true, referrer: referrer{where: LegacyTag, from: l.name() + ":" + printable([]byte(name)), descriptor: m}}
	var ok bool
	if c.subject, c.suffix, ok = cosignTag(name[strings.LastIndexByte(name, ':')+1:]); ok {
		return c, true
	}
	switch kind {
	case kindSigs:
		c.suffix = "sig"
	case kindAtts:
		c.suffix = "att"
	default:
		return candidate{}, false
	}
	c.subject, c.from = l.signed(), l.name()+"@"+string(m.Digest)
	return c, true
}

// signed is the image that cosign saved with its signatures; empty if the layout
// does not say which of several.
func (l *layout) signed() (image digest.Digest) {
	for _, m := range l.index.Manifests {
		if kind := m.Annotations[kindAnnotation]; kind == kindImage || kind == kindIndex {
			if image != "" && image != m.Digest {
				return ""
			}
			image = m.Digest
		}
	}
	return image
}

// look adds a blob to the candidates if it is a manifest with a subject, or
// may have been one.
func (l *layout) look(d descriptor, listed bool) {
	c := candidate{referrer: referrer{descriptor: d, where: Layout}, listed: listed}
	raw, err := l.blob(d.Digest, maxManifest)
	hint := bytes.Contains(raw, []byte(`"subject"`))
	switch {
	case err != nil:
		if !listed {
			return
		}
	case digest.FromBytes(raw) != d.Digest:
		if !hint && !listed {
			return
		}
		c.damaged = raw
	case !hint:
		return
	default:
		m, err := parseManifest(referrerPart.what(d.Digest), raw, d.MediaType)
		if err == nil && m.Subject != nil {
			c.subject = m.Subject.Digest
		} else if err == nil || !listed {
			return
		}
	}
	l.found = append(l.found, c)
}

// looksJSON reports whether a blob is small and starts like an object.
func (l *layout) looksJSON(name string) (int64, bool) {
	r, n, err := l.files.open("blobs/sha256/" + name)
	if err != nil || n > maxManifest {
		if err == nil {
			r.Close()
		}
		return 0, false
	}
	defer r.Close()
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return 0, false
	}
	return n, first[0] == '{'
}
