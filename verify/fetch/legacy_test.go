package fetch

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// cosigned adds what cosign 2 keeps about a subject under its tag.
func (w *world) cosigned(subject digest.Digest, suffix string, layers ...evidence.Layer) digest.Digest {
	var descs []ocispec.Descriptor
	for _, l := range layers {
		d := w.desc(w.put(l.Payload), l.MediaType)
		d.Annotations = l.Annotations
		descs = append(descs, d)
	}
	config := w.put([]byte(`{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`))
	m := w.manifest(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": w.desc(config, ocispec.MediaTypeImageConfig), "layers": descs})
	w.tags[fallbackTag(subject)+"."+suffix] = m
	return m
}

// oldWorld is a world without bundles, signed twice and attested once by cosign
// 2, with an unsigned SBOM; the index is signed too.
type oldWorld struct {
	*world
	sig, att, indexSig digest.Digest
	layers             []evidence.Layer // of the image: sig, sig, att
	ofIndex            evidence.Layer
}

func newOldWorld(t testing.TB) oldWorld {
	t.Helper()
	w := oldWorld{world: newWorld()}
	w.imageReferrer, w.indexReferrer = "", ""
	k := verifytest.NewKey(t)
	w.layers = []evidence.Layer{
		k.Sign2(t, w.image, verifytest.Simple(t, w.image, nil)),
		k.Sign2(t, w.image, verifytest.Simple(t, w.image, map[string]any{"n": 2})),
		k.Attest2(t, w.image, verifytest.Statement(t, evidence.PredicateSPDX, nil, w.image.Encoded())),
	}
	w.ofIndex = k.Sign2(t, w.index, verifytest.Simple(t, w.index, nil))
	w.sig = w.cosigned(w.image, "sig", w.layers[:2]...)
	w.att = w.cosigned(w.image, "att", w.layers[2])
	w.indexSig = w.cosigned(w.index, "sig", w.ofIndex)
	w.cosigned(w.image, "sbom", evidence.Layer{MediaType: "text/spdx+json", Payload: []byte("{}")})
	return w
}

// found holds a result to be these layers, each as it is proved from the store.
func (w oldWorld) found(t *testing.T, what string, res Result, o Options, want ...evidence.Layer) {
	t.Helper()
	got := map[string]Attachment{}
	for _, a := range res.Attachments {
		if a.Raw == nil {
			continue
		}
		got[string(a.Raw)] = a
		kept, err := o.Store.Bytes(a.Digest, MaxEvidence)
		if err != nil || !bytes.Equal(kept, a.Raw) || !a.Legacy() || digest.FromBytes(a.Raw) != a.Digest {
			t.Errorf("%s: %s is not kept: %v", what, a.From, err)
		}
		if e, err := evidence.Parse(a.Raw); err != nil || e.Preview().Subjects[0].SHA256 != a.Subject {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, l := range want {
		raw, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := got[string(raw)]; !ok || a.Where != LegacyTag && a.Where != Stored || a.Subject != l.Subject || a.From == "" {
			t.Errorf("%s: no layer of %s: %+v", what, l.Subject, a)
		}
	}
	if len(got) != len(want) || len(res.Problems) != 0 {
		t.Errorf("%s: %d layers, want %d; problems %s", what, len(got), len(want), problemCodes(res.Problems))
	}
}

// TestLegacyTags reads cosign's older tags of a registry, once: what was found
// is answered from the store, without a socket.
func TestLegacyTags(t *testing.T) {
	w := newOldWorld(t)
	s := serve(t, w.world)
	o := options(t)
	all := append([]evidence.Layer{w.ofIndex}, w.layers...)
	res, err := Resolve(t.Context(), s.ref(t), o)
	if err != nil {
		t.Fatal(err)
	}
	w.found(t, "registry", res, o, all...)
	tags := map[string]string{}
	for _, a := range res.Attachments {
		tags[a.From] = a.ArtifactType
	}
	for suffix, of := range map[string]digest.Digest{"sig": w.image, "att": w.image, "sbom": w.image} {
		if from := s.host() + "/r:" + fallbackTag(of) + "." + suffix; tags[from] != "cosign."+suffix {
			t.Errorf("%s: %v", from, tags)
		}
	}
	for _, pull := range []Pull{Missing, Never} {
		tries := 0
		warm := noDial(o, &tries)
		warm.Pull = pull
		res, err := Resolve(t.Context(), s.ref(t), warm)
		if err != nil || tries != 0 || !res.Local {
			t.Fatalf("warm: %v, %d sockets", err, tries)
		}
		w.found(t, "warm", res, o, all...)
	}
	// Adopted, it stays what it is.
	ref := parse(t, "registry.example/adopted:1")
	if err := Keep(o, ref, res); err != nil {
		t.Fatal(err)
	}
	never := o
	never.Pull = Never
	if res, err = Resolve(t.Context(), ref, never); err != nil {
		t.Fatal(err)
	}
	w.found(t, "kept", res, o, all...)
	// Copied from the store, it is attached as a bundle to nothing.
	dir := filepath.Join(t.TempDir(), "copy")
	alone := s.ref(t).WithDigest(w.image)
	if _, err := Resolve(t.Context(), alone, o); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), alone, parse(t, "oci-layout:"+dir+":1"), never); err != nil {
		t.Fatal(err)
	}
	if res, err = Resolve(t.Context(), parse(t, "oci-layout:"+dir), options(t)); err != nil || len(res.Attachments) != 0 {
		t.Errorf("copied: %v, %v", res.Attachments, err)
	}
}

// TestLegacyRecordOfOld: a record that another version wrote, when these tags
// were listed and not read, is looked at again.
func TestLegacyRecordOfOld(t *testing.T) {
	w := newOldWorld(t)
	s := serve(t, w.world)
	o := options(t)
	if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
		t.Fatal(err)
	}
	name := imageRecord(s.ref(t).Name(), w.index, platform)
	raw, ok, err := o.Store.Ref(name)
	if err != nil || !ok {
		t.Fatal(err)
	}
	old := bytes.Replace(raw, fmt.Appendf(nil, `"version":%d`, recordVersion), []byte(`"version":1`), 1)
	if bytes.Equal(old, raw) {
		t.Fatal("the record has no version")
	}
	if err := o.Store.SetRef(name, old); err != nil {
		t.Fatal(err)
	}
	before := s.requests.Load()
	res, err := Resolve(t.Context(), s.ref(t), o)
	if err != nil || s.requests.Load() == before {
		t.Fatalf("%v, %d requests", err, s.requests.Load()-before)
	}
	w.found(t, "again", res, o, append([]evidence.Layer{w.ofIndex}, w.layers...)...)
}

// TestLegacyLayout reads the forms that cosign's older tags have in layouts and
// archives: entries with that name, short or whole, and what cosign save marks.
func TestLegacyLayout(t *testing.T) {
	w := newOldWorld(t)
	sigs, atts := named(kindAnnotation, kindSigs), named(kindAnnotation, kindAtts)
	name := func(prefix, suffix string) string {
		return named(ocispec.AnnotationRefName, prefix+fallbackTag(w.image)+"."+suffix)
	}
	for what, c := range map[string]struct {
		index string
		want  []evidence.Layer
	}{
		"tags":       {indexJSON(w.entry(w.image, ""), w.entry(w.sig, name("", "sig")), w.entry(w.att, name("", "att"))), w.layers},
		"names":      {indexJSON(w.entry(w.sig, name("registry.example:5000/a:", "sig")), w.entry(w.image, ""), w.entry(w.att, name("a:", "att"))), w.layers},
		"saved":      {indexJSON(w.entry(w.image, named(kindAnnotation, kindImage)), w.entry(w.sig, sigs), w.entry(w.att, atts)), w.layers},
		"saved bare": {indexJSON(w.entry(w.image, ""), w.entry(w.sig, sigs)), w.layers[:2]},
		"index":      {indexJSON(w.entry(w.index, named(kindAnnotation, kindIndex)), w.entry(w.indexSig, sigs)), []evidence.Layer{w.ofIndex}},
		"elsewhere":  {indexJSON(w.entry(w.image, ""), w.entry(w.sig, named(ocispec.AnnotationRefName, fallbackTag(w.other)+".sig"))), nil},
		"bundles too": {indexJSON(w.entry(w.image, ""), w.entry(w.sig, name("", "sig")), w.entry(w.att, name("", "att")),
			w.entry(w.cosigned(w.image, "sbom"), name("", "sbom"))), w.layers},
	} {
		// No bundle lies unlisted among the blobs: this world is of before.
		bare := w.clone()
		for d, raw := range bare.blobs {
			if bytes.Contains(raw, []byte(`"subject"`)) && bare.types[d] != "" {
				delete(bare.blobs, d)
			}
		}
		dir := bare.layout(t, false)
		rewrite(t, dir, "index.json", c.index)
		files := bare.layoutFiles(false)
		files["index.json"] = []byte(c.index)
		for _, ref := range []string{"oci-layout:" + dir, "oci-archive:" + writeTar(t, files), "docker-archive:" + writeTar(t, files)} {
			o := options(t)
			res, err := Resolve(t.Context(), parse(t, ref), o)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			w.found(t, what+" in "+string(parse(t, ref).Scheme()), res, o, c.want...)
		}
	}
}

// TestLegacyDamaged damages what lies under cosign's older tags: each end has
// its own code, and what is not damaged is still found.
func TestLegacyDamaged(t *testing.T) {
	w := newOldWorld(t)
	first, second := digest.FromBytes(w.layers[0].Payload), digest.FromBytes(w.layers[1].Payload)
	for what, c := range map[string]struct {
		spoil func(w *world)
		code  reason.Code
		left  int // of the two signatures
	}{
		"layer flipped":      {func(w *world) { w.blobs[first] = damage["flip"](bytes.Clone(w.blobs[first])) }, reason.MismatchEvidence, 1},
		"layer extended":     {func(w *world) { w.blobs[second] = append(w.blobs[second], ' ') }, reason.MismatchEvidence, 1},
		"layer gone":         {func(w *world) { delete(w.blobs, first) }, reason.ReferrersAbsent, 1},
		"manifest flipped":   {func(w *world) { w.blobs[w.tags[fallbackTag(w.image)+".sig"]] = []byte("{") }, reason.MismatchEvidence, 0},
		"manifest truncated": {func(w *world) { w.tag(w.image, "sig", []byte(`{"schemaVersion":2,"lay`)) }, reason.JSONMalformed, 0},
		"manifest empty":     {func(w *world) { w.tag(w.image, "sig", []byte{}) }, reason.JSONMalformed, 0},
		"manifest of none":   {func(w *world) { w.tag(w.image, "sig", []byte(`{"schemaVersion":2}`)) }, reason.ManifestMalformed, 0},
		"an index":           {func(w *world) { w.tags[fallbackTag(w.image)+".sig"] = w.index }, reason.ManifestMediaType, 0},
		"manifest huge":      {func(w *world) { w.tag(w.image, "sig", bytes.Repeat([]byte(" "), maxManifest+1)) }, reason.EvidenceTooLarge, 0},
		"traversal": {func(w *world) {
			w.tag(w.image, "sig", bytes.Replace(w.blobs[w.tags[fallbackTag(w.image)+".sig"]], []byte(first), []byte("sha256:../../"), 1))
		}, reason.DigestUnsupported, 0},
		"layer of a gigabyte": {func(w *world) {
			w.tag(w.image, "sig", bytes.Replace(w.blobs[w.tags[fallbackTag(w.image)+".sig"]], fmt.Appendf(nil, `"size":%d`, len(w.blobs[first])), []byte(`"size":1073741824`), 1))
		}, reason.EvidenceTooLarge, 0},
	} {
		t.Run(what, func(t *testing.T) {
			c1 := w.clone()
			c.spoil(c1)
			res, err := Resolve(t.Context(), serve(t, c1).ref(t), options(t))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, a := range res.Attachments {
				if a.Raw != nil && a.ArtifactType == "cosign.sig" && a.Subject == w.image {
					n++
				}
			}
			if got := problemCodes(res.Problems); got != "legacy-tag "+string(c.code) || n != c.left {
				t.Errorf("problems %q, want %s; %d signatures left, want %d", got, c.code, n, c.left)
			}
		})
	}
}

// tag puts a manifest under one of cosign's older tags.
func (w *world) tag(subject digest.Digest, suffix string, raw []byte) {
	d := w.put(raw)
	w.types[d] = ocispec.MediaTypeImageManifest
	w.tags[fallbackTag(subject)+"."+suffix] = d
}

// TestLegacyConditions lets the registry misbehave for one of cosign's older
// tags: the finding says how, and everything else is found.
func TestLegacyConditions(t *testing.T) {
	for how, code := range map[string]reason.Code{
		"absent": "", "unauthorized": reason.ReferrersUnauthorized, "forbidden": reason.ReferrersForbidden, "throttled": reason.ReferrersThrottled,
		"failing": reason.ReferrersFailing, "cut": reason.ReferrersCut, "dropped": reason.ReferrersCut, "stalled": reason.ReferrersTimeout,
		"silent": reason.ReferrersTimeout, "plain-http": reason.ReferrersPlainHTTP,
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newOldWorld(t)
			s := serve(t, w.world)
			s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
				if path != "manifests/"+fallbackTag(w.image)+".sig" {
					return false
				}
				misbehave(how)(rw, r)
				return true
			}
			o := options(t)
			o.Timeout = patience(how)
			res, err := Resolve(t.Context(), s.ref(t), o)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if code != "" {
				want = "legacy-tag " + string(code)
			}
			if got := problemCodes(res.Problems); got != want {
				t.Errorf("problems %q, want %q", got, want)
			}
			res.Problems = nil
			w.found(t, how, res, o, w.layers[2], w.ofIndex)
		})
	}
}

// TestN38ReferrersFailLegacyThere: what the search for referrers ends in stays a
// problem, whatever cosign's older tags hold.
func TestN38ReferrersFailLegacyThere(t *testing.T) {
	for how, code := range map[string]reason.Code{"unauthorized": reason.ReferrersUnauthorized, "throttled": reason.ReferrersThrottled,
		"failing": reason.ReferrersFailing, "cut": reason.ReferrersCut, "silent": reason.ReferrersTimeout} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newOldWorld(t)
			s := serve(t, w.world)
			s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(path, "referrers/") {
					return false
				}
				misbehave(how)(rw, r)
				return true
			}
			o := options(t)
			o.Timeout = patience(how)
			for range 2 { // an incomplete search is no record to answer from
				res, err := Resolve(t.Context(), s.ref(t), o)
				if err != nil || problemCodes(res.Problems) != "referrers-api "+string(code) {
					t.Fatalf("%v, problems %q", err, problemCodes(res.Problems))
				}
				res.Problems = nil
				w.found(t, how, res, o, append([]evidence.Layer{w.ofIndex}, w.layers...)...)
			}
		})
	}
}

// TestN34ChildOfIndex: what is attached to an index is about the index, and what
// is attached to one of its manifests about that one; a manifest put in another's
// place has its own digest, and nothing.
func TestN34ChildOfIndex(t *testing.T) {
	w := newOldWorld(t)
	s := serve(t, w.world)
	for _, c := range []struct {
		what string
		ref  artifact.Reference
		want []evidence.Layer
	}{
		{"index", s.ref(t).WithDigest(w.index), append([]evidence.Layer{w.ofIndex}, w.layers...)},
		{"signed child alone", s.ref(t).WithDigest(w.image), w.layers},
	} {
		o := options(t)
		res, err := Resolve(t.Context(), c.ref, o)
		if err != nil {
			t.Fatal(err)
		}
		w.found(t, c.what, res, o, c.want...)
	}
	// The bytes of another child under the signed one's digest.
	swapped := w.clone()
	swapped.blobs[w.image] = w.blobs[w.other]
	_, err := Resolve(t.Context(), serve(t, swapped).ref(t), options(t))
	wantCode(t, err, reason.MismatchManifest)
	// An index that names another child in the signed one's place is another index.
	evil := w.clone()
	child, _, _ := evil.imageOf("amd64", tarballOf("evil", "x"))
	evil.index = evil.manifest(ocispec.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex,
		"manifests": []any{map[string]any{"mediaType": typeManifest, "digest": child, "size": len(evil.blobs[child]), "platform": map[string]string{"os": "linux", "architecture": "amd64"}}}})
	o := options(t)
	res, err := Resolve(t.Context(), serve(t, evil).ref(t), o)
	if err != nil || res.Manifest.Digest != child {
		t.Fatal(err)
	}
	w.found(t, "another child", res, o)
}

// TestOras reads layouts as oras writes them: the referrer is listed beside the
// image without a name, or only under the fallback tag's index, whose entry has
// no artifactType, or the empty object's.
func TestOras(t *testing.T) {
	w := newWorld()
	empty := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":2,"data":"e30="}`, ocispec.MediaTypeEmptyJSON, w.put([]byte("{}")))
	attached := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":%s,"layers":[{"mediaType":%q,"digest":%q,"size":%d,"annotations":{%q:"bundle.json"}}],"subject":%s,"annotations":{%q:"2026-01-01T00:00:00Z"}}`,
		typeManifest, bundleV03, empty, bundleV03, w.imageBundle, len(w.blobs[w.imageBundle]), ocispec.AnnotationTitle, w.entry(w.image, ""), ocispec.AnnotationCreated))
	delete(w.blobs, w.imageReferrer)
	delete(w.blobs, w.indexReferrer)
	w.imageReferrer = w.put(attached)
	w.types[w.imageReferrer] = typeManifest
	check := func(what string, res Result, where Where) {
		t.Helper()
		if len(res.Problems) != 0 || len(res.Attachments) != 1 || res.Attachments[0].Where != where || !bytes.Equal(res.Attachments[0].Raw, w.blobs[w.imageBundle]) {
			t.Errorf("%s: %v, problems %s", what, res.Attachments, problemCodes(res.Problems))
		}
	}
	image := w.entry(w.image, named(ocispec.AnnotationRefName, "1.4"))
	for _, kind := range []string{"", `,"artifactType":""`, `,"artifactType":"application/vnd.oci.empty.v1+json"`, `,"artifactType":"` + bundleV03 + `"`} {
		tagged := w.manifest(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []any{rawJSON(w.entry(w.imageReferrer, kind))}})
		for what, index := range map[string]string{
			"listed":             indexJSON(image, w.entry(w.imageReferrer, kind)),
			"under fallback tag": indexJSON(image, w.entry(tagged, named(ocispec.AnnotationRefName, fallbackTag(w.image)))),
		} {
			dir := w.layout(t, false)
			rewrite(t, dir, "index.json", index)
			res, err := Resolve(t.Context(), parse(t, "oci-layout:"+dir), options(t))
			if err != nil {
				t.Errorf("%s%s: %v", what, kind, err)
				continue
			}
			check(what+kind, res, Layout)
		}
		// The same index under the fallback tag of a registry without the API.
		s := serve(t, w)
		s.referrers = false
		w.tags[fallbackTag(w.image)] = tagged
		res, err := Resolve(t.Context(), parse(t, s.host()+"/r").WithDigest(w.image), options(t))
		if err != nil {
			t.Errorf("registry%s: %v", kind, err)
			continue
		}
		check("registry"+kind, res, ReferrersTag)
	}
}

// rawJSON is JSON that is written as it is.
type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// TestN37SlowDrip: a registry sends a byte now and then: it never stalls, and
// is given up all the same.
func TestN37SlowDrip(t *testing.T) {
	w := newOldWorld(t)
	w.imageReferrer, w.imageBundle = w.attachTo(w.image, "image")
	const idle = 300 * time.Millisecond
	drip := func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", typeManifest)
		if strings.Contains(r.URL.Path, "/referrers/") {
			rw.Header().Set("Content-Type", typeIndex)
		}
		for i := 0; i < 1000 && r.Method == http.MethodGet && r.Context().Err() == nil; i++ {
			rw.Write([]byte(" "))
			rw.(http.Flusher).Flush()
			time.Sleep(idle / 10)
		}
	}
	for where, code := range map[string]reason.Code{
		"manifests/1.4": reason.RegistryTimeout, "manifests/" + string(w.image): reason.RegistryTimeout, "blobs/" + string(w.config): reason.RegistryTimeout,
		"blobs/" + string(w.world.layers[0]): reason.RegistryTimeout,
		"referrers/":                         reason.ReferrersTimeout, "manifests/sha256-": reason.ReferrersTimeout, "manifests/" + string(w.imageReferrer): reason.ReferrersTimeout,
		"blobs/" + string(w.imageBundle): reason.ReferrersTimeout, "blobs/" + string(digest.FromBytes(w.layers[0].Payload)): reason.ReferrersTimeout,
	} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			s := serve(t, w.clone())
			s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(path, where) {
					return false
				}
				drip(rw, r)
				return true
			}
			o := options(t)
			o.Timeout = idle
			res, err := Resolve(t.Context(), s.ref(t), o)
			if code == reason.RegistryTimeout {
				wantCode(t, err, code)
			} else if got := problemCodes(res.Problems); err != nil || !strings.Contains(got, string(code)) {
				t.Errorf("%v, problems %q", err, got)
			}
		})
	}
	// Each exchange is brief, and there is no end of them: page after page.
	t.Run("pages", func(t *testing.T) {
		t.Parallel()
		s := serve(t, w.clone())
		s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(path, "referrers/") {
				return false
			}
			time.Sleep(idle / 2)
			rw.Header().Set("Content-Type", typeIndex)
			rw.Header().Set("Link", `<`+r.URL.Path+`?more>; rel="next"`)
			fmt.Fprintf(rw, `{"schemaVersion":2,"manifests":[%s]}`, w.entry(w.imageReferrer, ""))
			return true
		}
		o := options(t)
		o.Timeout = idle
		res, err := Resolve(t.Context(), s.ref(t), o)
		if got := problemCodes(res.Problems); err != nil || !strings.Contains(got, string(reason.ReferrersTimeout)) {
			t.Errorf("%v, problems %q", err, got)
		}
	})
}
