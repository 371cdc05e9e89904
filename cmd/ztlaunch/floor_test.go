//go:build linux

package main

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestN52AnnotationsAndVersions: an image's version stands in its configuration alone;
// annotations of its manifest, of its index, of the index's entry and of whatever
// refers to it say what they like.
func TestN52AnnotationsAndVersions(t *testing.T) {
	w := newWarden(t)
	w.write("policy.yaml", "identities: {release: {key: release.pub}}\n"+
		"images: [{match: \"**\", minimum: {version: 1.4.0, epoch: 3}, require: [{signature: {by: [release]}}]}]\n")
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	said := func(version, epoch string) map[string]string {
		return map[string]string{"org.opencontainers.image.version": version, "io.github.ztlaunch.epoch": epoch}
	}
	for repository, c := range map[string]struct {
		labels, annotations map[string]string
		status              int
		want                []reason.Code
	}{
		"none":  {nil, said("9.9.9", "9"), 1, []reason.Code{reason.VersionAbsent, reason.EpochAbsent}},
		"older": {said("1.3.9", "2"), said("9.9.9", "9"), 4, []reason.Code{reason.VersionBelowFloor, reason.EpochBelowFloor}},
		"newer": {said("1.4.0", "3"), said("0.0.1", "1"), 0, nil},
	} {
		ref, err := name.ParseReference(host+"/agents/"+repository+":9.9.9", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		push(t, ref, c.labels, c.annotations)
		w.want(0, "sign", "--key", w.at("release.key"), ref.String())
		w.image = ref.String()
		a := w.verify()
		if a.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", repository, a.status, c.status, a.out)
		}
		for _, code := range c.want {
			if !strings.Contains(a.out, `"code": "`+string(code)+`"`) {
				t.Errorf("%s: no %s in %s", repository, code, a.out)
			}
		}
	}
}

// push makes an index of one image with these labels, annotates everything around it,
// and adds a referrer that is annotated too.
func push(t *testing.T, ref name.Reference, labels, annotations map[string]string) {
	t.Helper()
	img, err := smallImage("agent", "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file.Config.Labels = labels
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	img = mutate.Annotations(img, annotations).(v1.Image)
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, "application/vnd.oci.image.index.v1+json"), mutate.IndexAddendum{Add: img,
		Descriptor: v1.Descriptor{Annotations: annotations, Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	index = mutate.Annotations(index, annotations).(v1.ImageIndex)
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	for _, about := range []partial.Describable{img, index} {
		subject, err := partial.Descriptor(about)
		if err != nil {
			t.Fatal(err)
		}
		other := mutate.Annotations(mutate.Subject(mutate.MediaType(empty.Image, "application/vnd.oci.image.manifest.v1+json"), *subject).(v1.Image), annotations).(v1.Image)
		sum, err := other.Digest()
		if err == nil {
			err = remote.Write(ref.Context().Digest(sum.String()), other)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
