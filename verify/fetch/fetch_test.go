package fetch

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// noDial makes every socket an error, and counts the tries.
func noDial(o Options, tries *int) Options {
	o.Dial = func(context.Context, string, string) (net.Conn, error) {
		*tries++
		return nil, errors.New("a socket was opened")
	}
	return o
}

// readLayers reads every layer as the tree builder does.
func readLayers(st *content.Store, res Result) error {
	for _, l := range res.Artifact.Layers() {
		r, err := Layer(st, l)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// TestRegistry goes through a real registry, with the referrers API and with
// the fallback tag, pushed by Copy.
func TestRegistry(t *testing.T) {
	w := newWorld()
	dir := w.layout(t, true)
	for name, api := range map[string]bool{"api": true, "tag": false} {
		t.Run(name, func(t *testing.T) {
			host := realRegistry(t, api)
			ref := parse(t, host+"/agents/coder:1.4")
			if _, err := Copy(t.Context(), parse(t, "oci-layout:"+dir+":1.4"), ref, options(t)); err != nil {
				t.Fatal(err)
			}
			o := options(t)
			res, err := Resolve(t.Context(), ref, o)
			if err != nil {
				t.Fatal(err)
			}
			whole(t, res, w)
			where := ReferrersAPI
			if !api {
				where = ReferrersTag
			}
			for _, a := range res.Attachments {
				if a.Where != where || a.ArtifactType != bundleV03 || !strings.HasPrefix(a.From, host+"/agents/coder@sha256:") {
					t.Errorf("attachment %+v", a)
				}
			}
			if res.Local || res.Root.Digest != w.index || res.Manifest.Digest != w.image {
				t.Errorf("local %v root %v manifest %v", res.Local, res.Root, res.Manifest)
			}
			if err := readLayers(o.Store, res); err != nil {
				t.Error(err)
			}

			tries := 0
			for _, pull := range []Pull{Missing, Never} {
				again := noDial(o, &tries)
				again.Pull = pull
				for _, ref := range []string{ref.String(), host + "/agents/coder@" + string(w.index), ref.String() + "@" + string(w.index)} {
					res, err := Resolve(t.Context(), parse(t, ref), again)
					if err != nil {
						t.Fatal(err)
					}
					whole(t, res, w)
					if !res.Local || tries != 0 {
						t.Errorf("%s, pull %v: local %v, %d sockets", ref, pull, res.Local, tries)
					}
				}
			}
		})
	}
}

func TestWarmAsksNobody(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	o := options(t)
	if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
		t.Fatal(err)
	}
	before := s.requests.Load()
	res, err := Resolve(t.Context(), s.ref(t), o)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, res, w)
	if n := s.requests.Load() - before; n != 0 || !res.Local {
		t.Errorf("a warm resolution makes %d requests", n)
	}
}

// TestMovedTag moves the tag after the first resolution.
func TestMovedTag(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	o := options(t)
	if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
		t.Fatal(err)
	}
	moved := newWorld()
	moved.image, moved.config, moved.layers = moved.imageOf("amd64", tarballOf("evil", "x"))
	moved.index = moved.image
	moved.imageReferrer, moved.imageBundle = moved.attachTo(moved.image, "moved")
	s.world = moved
	res, err := Resolve(t.Context(), s.ref(t), o)
	if err != nil || res.Artifact.Digest() != w.image {
		t.Errorf("missing: %v, %v", res.Artifact.Digest(), err)
	}
	o.Pull = Always
	res, err = Resolve(t.Context(), s.ref(t), o)
	if err != nil || res.Artifact.Digest() != moved.image || res.Artifact.Index() != "" || len(res.Artifact.Subjects()) != 1 {
		t.Errorf("always: %v, %v", res.Artifact.Digest(), err)
	}
	// A digest leads where it led, and the old image is still here.
	o.Pull = Missing
	res, err = Resolve(t.Context(), s.ref(t).WithDigest(w.index), o)
	if err != nil || res.Artifact.Digest() != w.image {
		t.Errorf("digest: %v, %v", res.Artifact.Digest(), err)
	}
	o.Pull = Always
	_, err = Resolve(t.Context(), s.ref(t).WithDigest(digest.FromString("none")), o)
	wantCode(t, err, reason.ImageAbsent)
}

func TestPullNever(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	o := options(t)
	tries := 0
	never := noDial(o, &tries)
	never.Pull = Never
	_, err := Resolve(t.Context(), s.ref(t), never)
	wantCode(t, err, reason.PullNever)
	_, err = Resolve(t.Context(), s.ref(t).WithDigest(w.index), never)
	wantCode(t, err, reason.PullNever)

	// The search for evidence fails: Never says so, Missing tries again.
	s.over = func(path string, w http.ResponseWriter, _ *http.Request) bool {
		if strings.HasPrefix(path, "referrers/") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
		t.Fatal(err)
	}
	res, err := Resolve(t.Context(), s.ref(t), never)
	if err != nil || problemCodes(res.Problems) != "store evidence-incomplete" {
		t.Errorf("never: %v, %v", problemCodes(res.Problems), err)
	}
	// Half of the evidence is no whole search either.
	s.over = func(path string, rw http.ResponseWriter, _ *http.Request) bool {
		if path == "referrers/"+string(w.image) {
			rw.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	res, err = Resolve(t.Context(), s.ref(t), o)
	if err != nil || problemCodes(res.Problems) != "referrers-api referrers-forbidden" || len(res.Attachments) != 1 {
		t.Errorf("half: %v, %v, %v", res.Attachments, problemCodes(res.Problems), err)
	}
	s.over = nil
	res, err = Resolve(t.Context(), s.ref(t), o)
	if err != nil || res.Local {
		t.Errorf("missing: local %v, %v", res.Local, err)
	}
	whole(t, res, w)
	if err := o.Store.Remove(w.layers[1]); err != nil {
		t.Fatal(err)
	}
	_, err = Resolve(t.Context(), s.ref(t), never)
	wantCode(t, err, reason.PullNever)
	if tries != 0 {
		t.Errorf("never opens %d sockets", tries)
	}
	if _, err = Resolve(t.Context(), s.ref(t), o); err != nil || !o.Store.Has(w.layers[1]) {
		t.Errorf("a missing layer is not fetched: %v", err)
	}
}

// TestUnsignedIsLookedAtAgain: evidence that comes later is found without
// --pull always, and an image without any has no problems.
func TestUnsignedIsLookedAtAgain(t *testing.T) {
	w := newWorld()
	unsigned := w.clone()
	unsigned.imageReferrer, unsigned.indexReferrer = "", ""
	s := serve(t, unsigned)
	o := options(t)
	res, err := Resolve(t.Context(), s.ref(t), o)
	if err != nil || len(res.Attachments) != 0 || len(res.Problems) != 0 {
		t.Fatalf("unsigned: %v, %v, %v", res.Attachments, problemCodes(res.Problems), err)
	}
	s.world = w
	res, err = Resolve(t.Context(), s.ref(t), o)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, res, w)
}

func TestForgedRecord(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	o := options(t)
	if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{tagRecord(s.ref(t).Name(), "1.4"), imageRecord(s.ref(t).Name(), w.index, platform)} {
		forge(t, o.Store, name)
		res, err := Resolve(t.Context(), s.ref(t), o)
		if err != nil || res.Local || problemCodes(res.Problems) != "store kept-forged" {
			t.Errorf("%s: local %v, %v, %v", name, res.Local, problemCodes(res.Problems), err)
		}
		res, err = Resolve(t.Context(), s.ref(t), o)
		if err != nil || !res.Local || len(res.Problems) != 0 {
			t.Errorf("%s, once more: local %v, %v, %v", name, res.Local, problemCodes(res.Problems), err)
		}
	}
}

func TestNotImage(t *testing.T) {
	for _, ref := range []string{"model:/m", "mcp:/m", "npm:/m", "receipt:/m"} {
		_, err := Resolve(t.Context(), parse(t, ref), options(t))
		wantCode(t, err, reason.ReferenceNotImage)
	}
}

func TestInterrupted(t *testing.T) {
	s := serve(t, newWorld())
	ctx, cancel := context.WithCancel(t.Context())
	s.over = func(path string, w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(path, "blobs/") {
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	}
	_, err := Resolve(ctx, s.ref(t), options(t))
	wantCode(t, err, reason.FetchInterrupted)
}

func TestProgress(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	o := options(t)
	last := map[digest.Digest]Event{}
	o.Progress = func(e Event) { last[e.Digest] = e }
	for _, cached := range []bool{false, true} {
		if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
			t.Fatal(err)
		}
		for _, l := range w.layers {
			if e := last[l]; e.Done != e.Total || e.Total != int64(len(w.blobs[l])) || e.Cached != cached {
				t.Errorf("%+v, want cached %v", e, cached)
			}
		}
	}
}

func TestParsePull(t *testing.T) {
	for word, want := range map[string]Pull{"missing": Missing, "always": Always, "never": Never} {
		if p, ok := ParsePull(word); !ok || p != want {
			t.Errorf("%s: %v %v", word, p, ok)
		}
	}
	if _, ok := ParsePull("newer"); ok {
		t.Error("newer is accepted")
	}
}

func BenchmarkWarm(b *testing.B) {
	s := serve(b, newWorld())
	o := options(b)
	if _, err := Resolve(b.Context(), s.ref(b), o); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Resolve(b.Context(), s.ref(b), o); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLayout(b *testing.B) {
	ref, o := parse(b, "oci-layout:"+newWorld().layout(b, true)), options(b)
	for b.Loop() {
		if _, err := Resolve(b.Context(), ref, o); err != nil {
			b.Fatal(err)
		}
	}
}
