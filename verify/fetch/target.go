package fetch

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// layoutTarget is an OCI image layout that is written to. A lock on the folder
// keeps two writers of this program apart; readers see old or new files whole.
type layoutTarget struct {
	ref  artifact.Reference
	dir  string
	lock *os.File
	made bool // by openTarget
}

var _ target = (*layoutTarget)(nil)

// openTarget opens or makes the layout and waits for its lock.
func openTarget(ref artifact.Reference) (*layoutTarget, error) {
	t := &layoutTarget{ref: ref, dir: ref.Path()}
	if _, err := os.Lstat(t.dir); errors.Is(err, fs.ErrNotExist) {
		t.made = true
	}
	if err := os.MkdirAll(filepath.Join(t.dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, t.unwritable(err)
	}
	var err error
	if t.lock, err = file.Folder(t.dir); err != nil {
		return nil, t.unwritable(err)
	}
	if err := file.Lock(t.lock, false, true); err != nil {
		t.close()
		return nil, t.unwritable(err)
	}
	version := filepath.Join(t.dir, ocispec.ImageLayoutFile)
	if _, err := os.Lstat(version); errors.Is(err, fs.ErrNotExist) {
		empty, _ := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}})
		if err := t.write(ocispec.ImageIndexFile, empty); err != nil {
			t.close()
			return nil, err
		}
		if err := t.write(ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`)); err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

func (t *layoutTarget) close() { t.lock.Close() }

// undo removes a layout that was made for what did not come.
func (t *layoutTarget) undo() {
	if t.made {
		_ = os.RemoveAll(t.dir) // what is left of it has no image
	}
}

func (t *layoutTarget) unwritable(err error) error {
	return &reason.Error{Code: reason.LayoutUnwritable, What: "write " + t.ref.String(), Err: err}
}

func (t *layoutTarget) path(d digest.Digest) string {
	return filepath.Join("blobs", "sha256", d.Encoded())
}

// fill writes a file under a temporary name and renames it.
func (t *layoutTarget) fill(name string, in io.Reader) error {
	path := filepath.Join(t.dir, name)
	temp := filepath.Join(t.dir, "."+rand.Text()+".part")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return t.unwritable(err)
	}
	defer os.Remove(temp)
	_, err = io.Copy(f, in)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	var m *content.Mismatch
	if _, ok := reason.Of(err); err == nil || ok || errors.As(err, &m) {
		return err
	}
	return t.unwritable(err)
}

func (t *layoutTarget) write(name string, raw []byte) error {
	return t.fill(name, bytes.NewReader(raw))
}

func (t *layoutTarget) blob(_ context.Context, d descriptor, source func() (io.ReadCloser, error)) error {
	if f, n, err := openFile(filepath.Join(t.dir, t.path(d.Digest))); err == nil {
		_, err = io.Copy(io.Discard, content.Verify(f, d.Digest, n))
		f.Close()
		if err == nil {
			return nil
		}
	}
	in, err := source()
	if err != nil {
		return err
	}
	defer in.Close()
	return t.fill(t.path(d.Digest), content.Verify(in, d.Digest, d.Size))
}

func (t *layoutTarget) put(_ context.Context, raw []byte, d descriptor, tag string, listed bool) error {
	if err := t.write(t.path(d.Digest), raw); err != nil {
		return err
	}
	if !listed {
		return nil
	}
	entry := d.oci()
	// The mark by which cosign finds the image in a layout.
	entry.Annotations = map[string]string{kindAnnotation: kindImage}
	if isIndex(d.MediaType) {
		entry.Annotations[kindAnnotation] = kindIndex
	}
	if tag != "" {
		entry.Annotations[ocispec.AnnotationRefName] = tag
	}
	return t.list(entry)
}

func (t *layoutTarget) refer(_ context.Context, _ digest.Digest, d descriptor) error {
	entry := d.oci()
	entry.ArtifactType, entry.Annotations = d.ArtifactType, maps.Clone(d.Annotations)
	return t.list(entry)
}

// list adds an entry to index.json, in the place of one with the same digest
// or the same tag.
func (t *layoutTarget) list(entry ocispec.Descriptor) error {
	raw, err := readFile(filepath.Join(t.dir, ocispec.ImageIndexFile), maxManifest)
	if err != nil {
		return t.unwritable(err)
	}
	var index ocispec.Index
	if err := content.DecodeJSON("index.json of "+t.ref.String(), raw, &index); err != nil {
		return err
	}
	tag := entry.Annotations[ocispec.AnnotationRefName]
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d ocispec.Descriptor) bool {
		return d.Digest == entry.Digest || tag != "" && d.Annotations[ocispec.AnnotationRefName] == tag
	})
	index.Manifests = append(index.Manifests, entry)
	if raw, err = json.Marshal(index); err != nil {
		return err
	}
	return t.write(ocispec.ImageIndexFile, raw)
}

func (t *layoutTarget) describe(_ context.Context, d digest.Digest) (descriptor, error) {
	f, n, err := openFile(filepath.Join(t.dir, t.path(d)))
	if err != nil {
		return descriptor{}, &reason.Error{Code: reason.ContentAbsent, What: "read manifest " + string(d) + " from " + t.ref.String(), Err: err}
	}
	return describe(stream{f, "", d, n}, d, t.ref.String())
}
