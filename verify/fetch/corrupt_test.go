package fetch

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// damage is each way to spoil a blob.
var damage = map[string]func([]byte) []byte{
	"flip":     func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	"truncate": func(b []byte) []byte { return b[:len(b)-1] },
	"extend":   func(b []byte) []byte { return append(b, ' ') },
	"empty":    func([]byte) []byte { return nil },
}

// victims is each blob of the world with the code its damage must give.
func (w *world) victims() map[string]victim {
	return map[string]victim{
		"index":          {w.index, reason.MismatchIndex, false},
		"manifest":       {w.image, reason.MismatchManifest, false},
		"config":         {w.config, reason.MismatchConfig, false},
		"layer":          {w.layers[0], reason.MismatchLayer, false},
		"layer-top":      {w.layers[1], reason.MismatchLayer, false},
		"referrer":       {w.imageReferrer, reason.MismatchEvidence, true},
		"bundle":         {w.imageBundle, reason.MismatchEvidence, true},
		"index-referrer": {w.indexReferrer, reason.MismatchEvidence, true},
		"index-bundle":   {w.indexBundle, reason.MismatchEvidence, true},
	}
}

type victim struct {
	digest   digest.Digest
	code     reason.Code
	evidence bool // a problem, not an error
}

// refusedAs resolves, reads the layers, and wants the victim's code: as an
// error, or as a problem with that piece of evidence not handed over.
func (v victim) refusedAs(t *testing.T, ref artifact.Reference, o Options) {
	t.Helper()
	res, err := Resolve(t.Context(), ref, o)
	if err == nil && !v.evidence {
		err = readLayers(o.Store, res)
	}
	if !v.evidence {
		wantCode(t, err, v.code)
		if e, ok := reason.Of(err); ok && (e.Expected == "" || e.Found == "") {
			t.Errorf("the error does not say what was expected and found: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Attachments) != 1 || !strings.Contains(problemCodes(res.Problems), string(v.code)) {
		t.Errorf("%d attachments, problems %v", len(res.Attachments), problemCodes(res.Problems))
	}
}

// each runs a test for each blob and each damage to it.
func corruptEach(t *testing.T, test func(t *testing.T, w *world, v victim, bad []byte)) {
	w := newWorld()
	for name, v := range w.victims() {
		t.Run(name, func(t *testing.T) {
			for how, spoil := range damage {
				t.Run(how, func(t *testing.T) {
					t.Parallel()
					test(t, w.clone(), v, spoil(bytes.Clone(w.blobs[v.digest])))
				})
			}
		})
	}
}

// TestCorruptRegistry: the registry serves one damaged blob, under the right
// digest in every header.
func TestCorruptRegistry(t *testing.T) {
	corruptEach(t, func(t *testing.T, w *world, v victim, bad []byte) {
		s := serve(t, w)
		w.blobs[v.digest] = bad
		v.refusedAs(t, s.ref(t).WithDigest(w.index), options(t))
	})
}

// TestCorruptTag: by tag nothing but the header names the index.
func TestCorruptTag(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	w.blobs[w.index] = append(w.blobs[w.index], ' ')
	_, err := Resolve(t.Context(), s.ref(t), options(t))
	wantCode(t, err, reason.MismatchIndex)
}

// TestN33CorruptLayout: each part of a layout, of the image and of the evidence about
// it, is damaged or taken away.
func TestN33CorruptLayout(t *testing.T) {
	for name, listed := range map[string]bool{"listed": true, "saved": false} {
		t.Run(name, func(t *testing.T) {
			corruptEach(t, func(t *testing.T, w *world, v victim, bad []byte) {
				dir := w.layout(t, listed)
				if err := os.WriteFile(filepath.Join(dir, "blobs/sha256", v.digest.Encoded()), bad, 0o600); err != nil {
					t.Fatal(err)
				}
				if !listed && v.evidence && !bytes.Contains(bad, []byte(`"subject"`)) && v.digest != w.imageBundle && v.digest != w.indexBundle {
					return // no more than the file's absence would tell
				}
				v.refusedAs(t, parse(t, "oci-layout:"+dir), options(t))
			})
		})
	}
	for _, name := range []string{"layer", "layer-top"} {
		t.Run("known-"+name, func(t *testing.T) {
			w := newWorld()
			dir := w.layout(t, true)
			o := options(t)
			ref := parse(t, "oci-layout:"+dir)
			if _, err := Resolve(t.Context(), ref, o); err != nil {
				t.Fatal(err)
			}
			v := w.victims()[name]
			at := filepath.Join(dir, "blobs/sha256", v.digest.Encoded())
			if err := os.WriteFile(at, damage["flip"](bytes.Clone(w.blobs[v.digest])), 0o600); err != nil {
				t.Fatal(err)
			}
			if res, err := Resolve(t.Context(), ref, o); err != nil || readLayers(o.Store, res) != nil {
				t.Errorf("what the store has is not taken from it: %v", err)
			}
			o.Pull = Always
			v.refusedAs(t, ref, o)
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
			_, err := Resolve(t.Context(), ref, o)
			wantCode(t, err, reason.ContentAbsent)
		})
	}
	for name, v := range newWorld().victims() {
		t.Run("remove-"+name, func(t *testing.T) {
			w := newWorld()
			dir := w.layout(t, true)
			if err := os.Remove(filepath.Join(dir, "blobs/sha256", v.digest.Encoded())); err != nil {
				t.Fatal(err)
			}
			v.code = reason.ContentAbsent
			switch {
			case v.digest == w.index:
				v.code = reason.ImageAbsent
			case v.evidence:
				v.code = reason.ReferrersAbsent
			}
			res, err := Resolve(t.Context(), parse(t, "oci-layout:"+dir), options(t))
			if v.evidence {
				if err != nil || !strings.Contains(problemCodes(res.Problems), string(v.code)) {
					t.Errorf("%v, problems %v", err, problemCodes(res.Problems))
				}
				return
			}
			wantCode(t, err, v.code)
		})
	}
}

func TestCorruptArchive(t *testing.T) {
	corruptEach(t, func(t *testing.T, w *world, v victim, bad []byte) {
		files := w.layoutFiles(true)
		files["blobs/sha256/"+v.digest.Encoded()] = bad
		v.refusedAs(t, parse(t, "oci-archive:"+writeTar(t, files)), options(t))
	})
}

// TestCorruptStore damages a blob in the store after a good resolution. The
// refusal names the way to repair it, and that way works.
func TestCorruptStore(t *testing.T) {
	corruptEach(t, func(t *testing.T, w *world, v victim, bad []byte) {
		s := serve(t, w)
		o := options(t)
		if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(o.Store.Dir(), "blobs/sha256", v.digest.Encoded())
		spoil := func() {
			t.Helper()
			if err := errors.Join(os.Remove(path), os.WriteFile(path, bad, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		never := o
		never.Pull = Never
		switch {
		case v.digest == w.imageReferrer || v.digest == w.indexReferrer:
			return // not read again: the bundle is recorded by its own digest
		case v.code == reason.MismatchLayer:
			for _, pull := range []Options{o, never} {
				spoil()
				v.refusedAs(t, s.ref(t), pull)
				if there, err := os.ReadFile(filepath.Join(o.Store.Dir(), "damaged", v.digest.Encoded())); err != nil || !bytes.Equal(there, bad) {
					t.Errorf("what was damaged is not set aside: %v", err)
				}
				_, err := Resolve(t.Context(), s.ref(t), never)
				wantCode(t, err, reason.PullNever)
				res, err := Resolve(t.Context(), s.ref(t), o)
				if err != nil || readLayers(o.Store, res) != nil {
					t.Errorf("the same again does not repair: %v", err)
				}
			}
		case v.evidence:
			spoil()
			v.refusedAs(t, s.ref(t), never)
			res, err := Resolve(t.Context(), s.ref(t), o) // found damaged, and searched for again
			if err != nil || len(res.Attachments) != 1 || !strings.Contains(problemCodes(res.Problems), string(v.code)) {
				t.Errorf("missing: %d attachments, problems %v, %v", len(res.Attachments), problemCodes(res.Problems), err)
			}
		default:
			spoil()
			v.refusedAs(t, s.ref(t), o)
			v.refusedAs(t, s.ref(t), never)
		}
		o.Pull = Always
		res, err := Resolve(t.Context(), s.ref(t), o)
		if err != nil {
			t.Fatal(err)
		}
		whole(t, res, w)
		if err := readLayers(o.Store, res); err != nil {
			t.Errorf("always does not repair: %v", err)
		}
		mended, err := os.ReadFile(path)
		if err != nil || digest.FromBytes(mended) != v.digest {
			t.Errorf("always leaves it damaged: %v", err)
		}
		// What is whole is not written again.
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
			t.Fatal(err)
		}
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("always writes what is whole: %v", err)
		}
	})
}

// TestN32SchemaOneLie: a registry gives docker's schema 1 as content type and lies in
// the digest header, which the library believes (go-containerregistry#1885).
func TestN32SchemaOneLie(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	evil := newWorld()
	evil.image, _, _ = evil.imageOf("amd64", tarballOf("evil", "x"))
	s.over = func(path string, rw http.ResponseWriter, _ *http.Request) bool {
		if !strings.HasPrefix(path, "manifests/") || strings.Contains(path, "sha256-") {
			return false
		}
		rw.Header().Set("Content-Type", dockerSigned1)
		rw.Header().Set("Docker-Content-Digest", string(w.index))
		rw.Write(evil.blobs[evil.image])
		return true
	}
	_, err := Resolve(t.Context(), s.ref(t), options(t))
	wantCode(t, err, reason.ManifestSchema1)
	_, err = Resolve(t.Context(), s.ref(t).WithDigest(w.index), options(t))
	wantCode(t, err, reason.MismatchManifest)
}

// TestHuge: what never ends is not read to its end.
func TestHuge(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	endless := func(prefix string) func(string, http.ResponseWriter, *http.Request) bool {
		return func(path string, rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(path, prefix) {
				return false
			}
			if strings.HasPrefix(path, "manifests/") {
				rw.Header().Set("Content-Type", w.types[w.index])
			}
			chunk := bytes.Repeat([]byte(" "), 1<<20)
			for i := 0; r.Context().Err() == nil; i++ {
				if i > 64 {
					t.Errorf("%s: more than 64 MiB were read", prefix)
					return true
				}
				rw.Write(chunk)
			}
			return true
		}
	}
	s.over = endless("manifests/1.4")
	_, err := Resolve(t.Context(), s.ref(t), options(t))
	wantCode(t, err, reason.ManifestTooLarge)
	s.over = endless("manifests/" + string(w.image))
	_, err = Resolve(t.Context(), s.ref(t), options(t))
	wantCode(t, err, reason.MismatchManifest)
	s.over = endless("blobs/" + string(w.config))
	_, err = Resolve(t.Context(), s.ref(t), options(t))
	wantCode(t, err, reason.MismatchConfig)
	s.over = endless("blobs/" + string(w.layers[0]))
	_, err = Resolve(t.Context(), s.ref(t), options(t))
	wantCode(t, err, reason.MismatchLayer)
	s.over = endless("referrers/" + string(w.image))
	res, err := Resolve(t.Context(), s.ref(t), options(t))
	if err != nil || !strings.Contains(problemCodes(res.Problems), string(reason.EvidenceTooLarge)) {
		t.Errorf("%v, problems %v", err, problemCodes(res.Problems))
	}
}
