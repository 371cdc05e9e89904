package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// suffixes are what cosign up to version 2 puts after the fallback tag of a
// subject: signatures, attestations, and SBOMs that nobody signed.
var suffixes = [...]string{"sig", "att", "sbom"}

// cosignTag reads a tag of that form.
func cosignTag(tag string) (subject digest.Digest, suffix string, ok bool) {
	for _, suffix := range suffixes {
		if hex, found := strings.CutSuffix(tag, "."+suffix); found && strings.HasPrefix(hex, "sha256-") {
			d := digest.Digest("sha256:" + hex[len("sha256-"):])
			return d, suffix, content.CheckDigest(d) == nil
		}
	}
	return "", "", false
}

// Legacy says that Raw is no Sigstore bundle, but a layer of what cosign up to
// version 2 kept, as evidence.Layer encodes it.
func (a Attachment) Legacy() bool {
	return a.MediaType == evidence.SimpleSigningType || a.MediaType == evidence.DSSEType
}

// legacy looks for the tags under which cosign up to version 2 keeps
// signatures, attestations and SBOMs.
func (r *registry) legacy(ctx context.Context, subject digest.Digest) ([]referrer, []Problem) {
	found := make([][]referrer, len(suffixes))
	trouble := make([][]Problem, len(suffixes))
	_ = each(ctx, len(suffixes), func(ctx context.Context, i int) error {
		one, ok, err := r.tagged(ctx, fallbackTag(subject)+"."+suffixes[i], suffixes[i])
		if err != nil {
			trouble[i] = []Problem{{LegacyTag, asReason(err)}}
		} else if ok {
			found[i] = []referrer{one}
		}
		return nil
	})
	var list []referrer
	var problems []Problem
	for i := range suffixes {
		list = append(list, found[i]...)
		problems = append(problems, trouble[i]...)
	}
	return list, problems
}

// tagged reads the manifest under one such tag; of an SBOM's, only that it is
// there. What the registry says of its digest is compared and not believed.
func (r *registry) tagged(ctx context.Context, tag, suffix string) (referrer, bool, error) {
	from := r.repo.String() + ":" + tag
	what := "read " + from
	method := http.MethodGet
	if suffix == "sbom" {
		method = http.MethodHead
	}
	resp, err := r.do(ctx, request{method: method, path: "manifests/" + tag, header: acceptManifests(), want: []int{200, 404}, what: what, evidence: true, brief: true})
	if err != nil {
		return referrer{}, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return referrer{}, false, nil
	}
	one := referrer{where: LegacyTag, from: from, suffix: suffix, descriptor: descriptor{MediaType: resp.Header.Get("Content-Type")}}
	if method == http.MethodHead {
		return one, true, nil
	}
	one.raw, err = io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return referrer{}, false, err
	}
	if len(one.raw) > maxManifest {
		return referrer{}, false, refuse(reason.EvidenceTooLarge, what, "a manifest of at most 4 MiB", "more")
	}
	one.Digest, one.Size = digest.FromBytes(one.raw), int64(len(one.raw))
	if said := digest.Digest(resp.Header.Get("Docker-Content-Digest")); said != "" && said != one.Digest {
		return referrer{}, false, refuse(reason.MismatchEvidence, what, fmt.Sprintf("%.100q", string(said)), string(one.Digest))
	}
	return one, true, nil
}

// layersOf reads what lies under one of cosign's older tags: each layer that can
// prove something becomes an attachment. One that cannot be had hides no other.
func (s *session) layersOf(ctx context.Context, subject digest.Digest, r referrer, budget *atomic.Int64) (all []Attachment, problems []Problem) {
	a := Attachment{Where: LegacyTag, From: r.from, Subject: subject, Digest: r.Digest, MediaType: r.MediaType, ArtifactType: "cosign." + r.suffix}
	if r.suffix == "sbom" {
		return []Attachment{a}, nil // nobody signed it, so nobody reads it
	}
	fail := func(err error) { problems = append(problems, s.problem(LegacyTag, err)) }
	raw, declared, err := r.raw, r.MediaType, error(nil)
	if raw == nil {
		raw, declared, err = s.bytes(ctx, referrerPart, r.descriptor, maxManifest)
	}
	var m manifest
	what := referrerPart.what(r.Digest)
	if err == nil {
		m, err = parseManifest(what, raw, declared)
	}
	if err == nil && m.index() {
		err = refuse(reason.ManifestMediaType, "read "+r.from, "a manifest", "an index")
	}
	if err != nil {
		fail(err)
		return nil, problems
	}
	for _, l := range m.Layers {
		one := a
		one.MediaType = l.MediaType
		if !one.Legacy() {
			continue
		}
		if budget.Add(-l.Size) < 0 {
			fail(refuse(reason.EvidenceTooLarge, "read "+what, fmt.Sprintf("at most %d bytes of evidence", MaxEvidence), "more"))
			break
		}
		if err := s.cosignLayer(ctx, &one, l); err != nil {
			fail(err)
			continue
		}
		all = append(all, one)
	}
	if all == nil && problems == nil {
		a.MediaType = m.MediaType
		all = []Attachment{a} // something else than evidence: shown, not read
	}
	return all, problems
}

// cosignLayer reads one layer and puts what has to be kept of it into the store.
func (s *session) cosignLayer(ctx context.Context, a *Attachment, l descriptor) error {
	payload, _, err := s.bytes(ctx, bundlePart, l, MaxEvidence)
	if err != nil {
		return err
	}
	a.Raw, err = evidence.Layer{Subject: a.Subject, MediaType: l.MediaType, Annotations: l.Annotations, Payload: payload}.Encode()
	if err == nil && len(a.Raw) > MaxEvidence { // base64 is longer than what it holds
		err = refuse(reason.EvidenceTooLarge, "keep a layer of "+a.From, fmt.Sprintf("at most %d bytes", MaxEvidence), fmt.Sprint(len(a.Raw)))
	}
	if err != nil {
		return err
	}
	a.Digest, err = s.o.Store.PutBytes(a.Raw)
	return err
}
