package tree

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func gz(t testing.TB, raw []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zst(t testing.TB, raw []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(raw, nil)
}

const (
	ociTar    = "application/vnd.oci.image.layer.v1.tar"
	dockerTar = "application/vnd.docker.image.rootfs.diff.tar"
)

func expand(r io.Reader, media string, lim Limits) ([]byte, error) {
	d, err := Decompress(r, media, lim)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	var b bytes.Buffer
	_, err = io.CopyBuffer(struct{ io.Writer }{&b}, d, make([]byte, 1<<20))
	return b.Bytes(), err
}

func TestDecompress(t *testing.T) {
	raw := archive(t, file("a", strings.Repeat("body ", 1000)))
	half := len(raw) / 2
	for media, b := range map[string][]byte{
		ociTar: raw, dockerTar: raw,
		ociTar + "+gzip": gz(t, raw), dockerTar + ".gzip": append(gz(t, raw[:half]), gz(t, raw[half:])...),
		ociTar + "+zstd": zst(t, raw), dockerTar + ".zstd": append(zst(t, raw[:half]), zst(t, raw[half:])...),
	} {
		got, err := expand(iotest.HalfReader(bytes.NewReader(b)), media, Limits{})
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%s: %d bytes, %v", media, len(got), err)
		}
	}
}

func TestDecompressRefuses(t *testing.T) {
	raw := archive(t, file("a", strings.Repeat("body ", 1000)))
	zeros := make([]byte, ratioFrom+1<<20)
	zerosGz, zerosZst := gz(t, zeros), zst(t, zeros)
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 0x10; return b }
	cases := []struct {
		name, media string
		code        reason.Code
		b           []byte
	}{
		{"media-type", "application/vnd.oci.image.layer.nondistributable.v1.tar", reason.LayerCompression, raw},
		{"media-empty", "", reason.LayerCompression, raw},
		{"not-gzip", ociTar + "+gzip", reason.LayerMalformed, raw},
		{"not-zstd", ociTar + "+zstd", reason.LayerMalformed, raw},
		{"flipped", ociTar + "+gzip", reason.LayerMalformed, flip(gz(t, raw))},
		{"flipped-zstd", ociTar + "+zstd", reason.LayerMalformed, flip(zst(t, raw))},
		{"cut", ociTar + "+gzip", reason.LayerMalformed, gz(t, raw)[:40]},
		{"cut-zstd", ociTar + "+zstd", reason.LayerMalformed, zst(t, raw)[:20]},
		{"behind", ociTar + "+gzip", reason.LayerMalformed, append(gz(t, raw), "extra"...)},
		{"behind-zstd", ociTar + "+zstd", reason.LayerMalformed, append(zst(t, raw), "extra"...)},
		{"bomb", ociTar + "+gzip", reason.LayerBomb, zerosGz},
		{"bomb-zstd", ociTar + "+zstd", reason.LayerBomb, zerosZst},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := expand(bytes.NewReader(c.b), c.media, Limits{})
			wantCode(t, err, c.code)
		})
	}
	if _, err := expand(bytes.NewReader(zerosGz), ociTar+"+gzip", Limits{Ratio: 5000}); err != nil {
		t.Errorf("with a wider limit: %v", err)
	}
}

// TestDecompressSource lets the verifying reader speak first: wrong compressed
// bytes are wrong bytes before they are a wrong stream.
func TestDecompressSource(t *testing.T) {
	raw := archive(t, file("a", strings.Repeat("body ", 1000)))
	wrong := errors.New("blob digest mismatch")
	for media, b := range map[string][]byte{ociTar: raw, ociTar + "+gzip": gz(t, raw), ociTar + "+zstd": zst(t, raw)} {
		for _, cut := range []int{3, 20, len(b) / 2, len(b)} {
			for _, flip := range []int{0, 2, 12, cut - 1} {
				bad := bytes.Clone(b)
				bad[flip] ^= 0x40
				r := io.MultiReader(bytes.NewReader(bad[:cut]), iotest.ErrReader(wrong))
				if _, err := expand(r, media, Limits{}); !errors.Is(err, wrong) {
					t.Errorf("%s cut at %d, byte %d flipped: %v", media, cut, flip, err)
				}
			}
		}
	}
}
