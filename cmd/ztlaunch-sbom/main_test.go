package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ztlaunch/ztlaunch/testdata/images/oci"
)

var now = time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)

// sbomOf runs the program in this process.
func sbomOf(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(context.Background(), args, "", now, &o, &e)
	return code, o.String(), e.String()
}

// userland is a small image with a Debian package, a hard link, a link that leads
// nowhere and a file that the second layer takes away.
func userland(t *testing.T) v1.Image {
	t.Helper()
	image, err := oci.Build(oci.Spec{
		Platform: v1.Platform{OS: "linux", Architecture: "amd64"},
		Files: []oci.File{
			{Path: "/etc/os-release", Body: []byte("ID=debian\nVERSION_ID=\"12\"\n")},
			{Path: "/usr/bin/tool", Mode: 0o755, Body: []byte("tool")},
			{Path: "/usr/bin/tool-too", Mode: 0o755, Hard: "/usr/bin/tool"},
			{Path: "/usr/bin/loose", Mode: 0o755, Body: []byte("in no package")},
			{Path: "/usr/bin/link", Link: "tool"},
			{Path: "/usr/bin/nowhere", Link: "/absent"},
			{Path: "/gone", Body: []byte("gone")},
			{Path: "/empty", Body: nil},
			{Path: "/var/lib/dpkg/status", Body: []byte("Package: tool\nStatus: install ok installed\nVersion: 1.2-3\nArchitecture: amd64\nMaintainer: M <m@example.org>\nDescription: a tool\n\n")},
			{Path: "/var/lib/dpkg/info/tool.list", Body: []byte("/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/bin/link\n")},
			{Path: "/var/lib/dpkg/info/tool.md5sums", Body: []byte("00000000000000000000000000000000  usr/bin/tool\n")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err = oci.Append(image, oci.File{Path: "/.wh.gone"}, oci.File{Path: "/added", Body: []byte("added")})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// files is what the document of userland has to list.
func files() map[string]string {
	want := map[string]string{}
	for name, body := range map[string]string{
		"usr/bin/tool": "tool", "usr/bin/tool-too": "tool", "usr/bin/loose": "in no package", "added": "added", "empty": "",
		"etc/os-release":                 "ID=debian\nVERSION_ID=\"12\"\n",
		"var/lib/dpkg/status":            "Package: tool\nStatus: install ok installed\nVersion: 1.2-3\nArchitecture: amd64\nMaintainer: M <m@example.org>\nDescription: a tool\n\n",
		"var/lib/dpkg/info/tool.list":    "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/bin/link\n",
		"var/lib/dpkg/info/tool.md5sums": "00000000000000000000000000000000  usr/bin/tool\n",
	} {
		want[name] = hash([]byte(body))
	}
	return want
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func layout(t *testing.T, image v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := oci.Write(dir, image, "latest"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// spdxDoc is the part of SPDX 2.3 JSON that is checked here.
type spdxDoc struct {
	SPDXVersion       string
	Name              string
	DocumentNamespace string
	CreationInfo      struct {
		Created, Comment string
		Creators         []string
	}
	Packages []struct{ SPDXID, Name, VersionInfo string }
	Files    []struct {
		SPDXID, FileName string
		Checksums        []struct{ Algorithm, ChecksumValue string }
	}
	Relationships []struct{ SpdxElementID, RelatedSpdxElement, RelationshipType string }
}

func (d spdxDoc) hashes(t *testing.T) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, f := range d.Files {
		sums := map[string]string{}
		for _, c := range f.Checksums {
			sums[c.Algorithm] = c.ChecksumValue
		}
		if len(sums["SHA1"]) != 40 || len(sums["SHA256"]) != 64 {
			t.Errorf("%s: checksums %v", f.FileName, sums)
		}
		if _, twice := got[f.FileName]; twice {
			t.Errorf("%s listed twice", f.FileName)
		}
		got[f.FileName] = sums["SHA256"]
	}
	return got
}

func readSPDX(t *testing.T, raw string) spdxDoc {
	t.Helper()
	var d spdxDoc
	if err := json.Unmarshal([]byte(raw), &d); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return d
}

func differ(t *testing.T, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for name, sum := range want {
		if got[name] != sum {
			t.Errorf("%s: got %q, want %q", name, got[name], sum)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: listed, and not in the image", name)
		}
	}
}

func TestSPDX(t *testing.T) {
	dir := layout(t, userland(t))
	code, out, errs := sbomOf("--name", "agents/tool", "oci-layout:"+dir)
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	d := readSPDX(t, out)
	differ(t, d.hashes(t), files())
	if d.SPDXVersion != "SPDX-2.3" || d.Name != "agents/tool" || d.CreationInfo.Created != "2026-02-03T04:05:06Z" {
		t.Errorf("document: %s %s %v", d.SPDXVersion, d.Name, d.CreationInfo)
	}
	if strings.Contains(out, dir) || strings.Contains(out, filepath.Dir(dir)) {
		t.Error("a path of this machine is in the document")
	}

	// The package, and what it owns: not the loose file, not the link.
	ids := map[string]string{}
	for _, f := range d.Files {
		ids[f.SPDXID] = f.FileName
	}
	owner := ""
	for _, p := range d.Packages {
		ids[p.SPDXID] = p.Name
		if p.Name == "tool" {
			owner = p.SPDXID
			if p.VersionInfo != "1.2-3" {
				t.Errorf("tool has version %q", p.VersionInfo)
			}
		}
	}
	if owner == "" {
		t.Fatalf("no package tool in %v", d.Packages)
	}
	var owned []string
	for _, r := range d.Relationships {
		for _, id := range []string{r.SpdxElementID, r.RelatedSpdxElement} {
			if _, known := ids[id]; !known && id != "SPDXRef-DOCUMENT" {
				t.Errorf("relationship with %s, which is not in the document", id)
			}
		}
		if r.SpdxElementID == owner && r.RelationshipType == "CONTAINS" {
			owned = append(owned, ids[r.RelatedSpdxElement])
		}
	}
	if !slices.Contains(owned, "usr/bin/tool") || slices.Contains(owned, "usr/bin/loose") {
		t.Errorf("tool owns %v", owned)
	}
}

func TestCycloneDX(t *testing.T) {
	code, out, errs := sbomOf("--format", "cyclonedx-json", "--name", "tool", "oci-layout:"+layout(t, userland(t)))
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var d struct {
		BOMFormat, SerialNumber string
		Metadata                struct{ Timestamp string }
		Components              []struct {
			Type, Name, Version string
			Hashes              []struct{ Alg, Content string }
		}
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	got, tool := map[string]string{}, ""
	for _, c := range d.Components {
		if c.Type == "file" {
			for _, h := range c.Hashes {
				if h.Alg == "SHA-256" {
					got[strings.TrimPrefix(c.Name, "/")] = h.Content
				}
			}
		} else if c.Name == "tool" {
			tool = c.Version
		}
	}
	differ(t, got, files())
	if tool != "1.2-3" || d.BOMFormat != "CycloneDX" || d.Metadata.Timestamp != "2026-02-03T04:05:06Z" || !strings.HasPrefix(d.SerialNumber, "urn:uuid:") {
		t.Errorf("tool %q, document %s %s %s", tool, d.BOMFormat, d.SerialNumber, d.Metadata.Timestamp)
	}
}

func TestSameBytes(t *testing.T) {
	dir := layout(t, userland(t))
	for _, format := range []string{"spdx-json", "cyclonedx-json"} {
		t.Run(format, func(t *testing.T) {
			args := []string{"--format", format, "--name", "n", "--created", "2026-01-01T00:00:00Z", "oci-layout:" + dir}
			_, first, _ := sbomOf(args...)
			for range 2 {
				if _, again, _ := sbomOf(args...); again != first || first == "" {
					t.Fatalf("the same source gave other bytes:\n%s\n%s", first, again)
				}
			}
			args[5] = "2026-01-02T00:00:00Z"
			if _, other, _ := sbomOf(args...); other == first {
				t.Error("another time gave the same document")
			}
		})
	}
}

// TestForms reads the same image from each kind of source.
func TestForms(t *testing.T) {
	image := userland(t)
	dir := layout(t, image)
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	other, err := oci.Build(oci.Spec{Platform: v1.Platform{OS: "linux", Architecture: "arm64"}, Files: []oci.File{{Path: "/other", Body: []byte("other")}}})
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	index := filepath.Join(temp, "index")
	top, err := oci.WriteIndex(index, "latest", image, other)
	if err != nil {
		t.Fatal(err)
	}
	ociArchive, dockerArchive := filepath.Join(temp, "oci.tar"), filepath.Join(temp, "docker.tar")
	if err := errors.Join(oci.WriteOCIArchive(ociArchive, dir), oci.WriteDockerArchive(dockerArchive, dir, "tool:latest")); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"layout":                {"oci-layout:" + dir},
		"layout by digest":      {"oci-layout:" + index + "@" + digest.String()},
		"index and platform":    {"--platform", "linux/amd64", "oci-layout:" + index},
		"index digest and both": {"--platform", "linux/amd64", "oci-layout:" + index + "@" + top.String()},
		"oci archive":           {"oci-archive:" + ociArchive},
		"docker archive":        {"docker-archive:" + dockerArchive},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := sbomOf(args...)
			if code != 0 {
				t.Fatalf("exit %d: %s", code, errs)
			}
			differ(t, readSPDX(t, out).hashes(t), files())
		})
	}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"two fit":          {[]string{"oci-layout:" + index}, "2 images fit"},
		"none fits":        {[]string{"--platform", "linux/s390x", "oci-layout:" + index}, "no image for platform linux/s390x"},
		"digest absent":    {[]string{"oci-layout:" + index + "@sha256:" + strings.Repeat("0", 64)}, "no such file"},
		"layout absent":    {[]string{"oci-layout:" + temp + "/absent"}, "no such file"},
		"archive absent":   {[]string{"oci-archive:" + temp + "/absent"}, "no such file"},
		"docker is oci":    {[]string{"docker-archive:" + ociArchive}, "manifest.json"},
		"folder absent":    {[]string{"dir:" + temp + "/absent"}, "no such file"},
		"folder is a file": {[]string{"dir:" + ociArchive}, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := sbomOf(c.args...)
			if code != exitSource || out != "" || !strings.Contains(errs, c.says) {
				t.Errorf("exit %d, %d bytes, says %q; want %q", code, len(out), errs, c.says)
			}
		})
	}
}

// TestFolder describes a folder, in which no link leads out.
func TestFolder(t *testing.T) {
	temp := t.TempDir()
	dir := filepath.Join(temp, "root")
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "bin", "in"), []byte("in"), 0o644),
		os.WriteFile(filepath.Join(temp, "outside"), []byte("outside"), 0o644),
		os.Symlink("../../outside", filepath.Join(dir, "bin", "relative")),
		os.Symlink(filepath.Join(temp, "outside"), filepath.Join(dir, "bin", "absolute")),
		os.Symlink("../bin", filepath.Join(dir, "bin", "loop")),
	); err != nil {
		t.Fatal(err)
	}
	code, out, errs := sbomOf("dir:" + dir)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	differ(t, readSPDX(t, out).hashes(t), map[string]string{"bin/in": hash([]byte("in"))})
	if strings.Contains(out, temp) {
		t.Error("a path of this machine is in the document")
	}
}

// TestExclude leaves out the paths that are named, and no path that only fits them as a
// pattern.
func TestExclude(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	want := map[string]string{}
	for name, stays := range map[string]bool{"kept": true, "a1": true, "deep/a*": true, ".git": true, "a*": false, "[x]{y}?": false, "notes/deep/er": false} {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(name), 0o644)); err != nil {
			t.Fatal(err)
		}
		if stays {
			want[name] = hash([]byte(name))
		}
	}
	code, out, errs := sbomOf("--exclude", "a*", "--exclude", "[x]{y}?", "--exclude", "notes", "--exclude", "absent", "dir:"+dir)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	differ(t, readSPDX(t, out).hashes(t), want)
}

// TestDamage: a blob that is not what its digest says is never described.
func TestDamage(t *testing.T) {
	image := userland(t)
	clean := layout(t, image)
	all, err := oci.Blobs(clean)
	if err != nil || len(all) != 4 {
		t.Fatalf("%d blobs, %v", len(all), err)
	}
	for _, b := range all {
		for _, how := range []oci.How{oci.Flip, oci.Truncate, oci.Extend, oci.Remove} {
			t.Run(b.Role+"/"+string(how), func(t *testing.T) {
				dir := layout(t, image)
				if err := oci.Corrupt(filepath.Join(dir, "blobs", "sha256", b.Digest.Hex), how); err != nil {
					t.Fatal(err)
				}
				if code, out, errs := sbomOf("oci-layout:" + dir); code != exitSource || out != "" || errs == "" {
					t.Errorf("exit %d, %d bytes, says %q", code, len(out), errs)
				}
			})
		}
	}
}

// TestHole: a file that cannot be hashed is an error, not a gap in the list.
func TestHole(t *testing.T) {
	image, err := oci.Append(userland(t), oci.File{Path: "/usr/bin/below", Hard: "/usr/bin/loose"})
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := sbomOf("oci-layout:" + layout(t, image))
	if code != exitSource || out != "" || !strings.Contains(errs, "/usr/bin/below: hard link to") {
		t.Errorf("exit %d, %d bytes, says %q", code, len(out), errs)
	}
}

// TestUnread: a package database that nobody could read is said.
func TestUnread(t *testing.T) {
	image, err := oci.Append(userland(t), oci.File{Path: "/usr/lib/sysimage/rpm/rpmdb.sqlite", Body: []byte("not a database")})
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := sbomOf("oci-layout:" + layout(t, image))
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	const says = "not cataloged: /usr/lib/sysimage/rpm/rpmdb.sqlite"
	if !strings.Contains(errs, says) || !strings.Contains(readSPDX(t, out).CreationInfo.Comment, says) {
		t.Errorf("stderr %q, comment %q", errs, readSPDX(t, out).CreationInfo.Comment)
	}
}

func TestUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"nothing": {}, "two": {"dir:a", "dir:b"}, "no scheme": {"folder"}, "no path": {"dir:"}, "registry": {"registry:alpine"},
		"image name": {"docker:alpine"}, "digest": {"oci-layout:d@sha256:12"}, "format": {"--format", "xml", "dir:."},
		"flag": {"--title", "x", "dir:."}, "time": {"--created", "yesterday", "dir:."},
	} {
		t.Run(name, func(t *testing.T) {
			if code, out, errs := sbomOf(args...); code != exitUsage || out != "" || !strings.Contains(errs, "usage:") {
				t.Errorf("exit %d, %q, %q", code, out, errs)
			}
		})
	}
	if code := run(context.Background(), []string{"dir:."}, "soon", now, io.Discard, io.Discard); code != exitUsage {
		t.Errorf("SOURCE_DATE_EPOCH=soon: exit %d", code)
	}
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestClosedStdout(t *testing.T) {
	if code := run(context.Background(), []string{"dir:" + t.TempDir()}, "", now, closed{}, io.Discard); code != exitSource {
		t.Errorf("exit %d", code)
	}
}
