package tree

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// zstdWindow is the largest window, and so about the memory, that a zstd layer may
// ask for: what `zstd --ultra -22 --long=27` uses.
const zstdWindow = 128 << 20

// Decompress is the uncompressed stream of a layer of the given media type: the
// OCI layer types, plain, +gzip and +zstd, and docker's. Other types, the
// non-distributable ones among them, are refused (layer-compression). Reading
// refuses a stream that does not decode (layer-malformed), that goes on behind its
// end, or that expands beyond lim.Ratio (layer-bomb). When r itself has an error,
// as a verifying reader has at the end of wrong bytes, that error comes first. The
// caller closes the result; r stays open.
func Decompress(r io.Reader, mediaType string, lim Limits) (io.ReadCloser, error) {
	d := &decompressor{src: source{r: r}, lim: lim.withDefaults()}
	var err error
	switch kind := compression(mediaType); kind {
	case "tar":
		d.out, d.close = &d.src, func() {}
	case "gzip":
		var z *gzip.Reader
		if z, err = gzip.NewReader(&d.src); err == nil {
			d.out, d.close = z, func() { _ = z.Close() }
		}
	case "zstd":
		var z *zstd.Decoder
		z, err = zstd.NewReader(&d.src, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err == nil {
			d.out, d.close = z, z.Close
		}
	default:
		return nil, &reason.Error{Code: reason.LayerCompression, What: "open layer", Found: strconv.Quote(mediaType),
			Expected: "application/vnd.oci.image.layer.v1.tar, +gzip or +zstd, or docker's"}
	}
	if err != nil {
		return nil, d.fault(err)
	}
	return d, nil
}

// compression is "tar", "gzip", "zstd" or "".
func compression(mediaType string) string {
	const docker = "application/vnd.docker.image.rootfs.diff.tar"
	switch mediaType {
	case "application/vnd.oci.image.layer.v1.tar", docker:
		return "tar"
	case "application/vnd.oci.image.layer.v1.tar+gzip", docker + ".gzip":
		return "gzip"
	case "application/vnd.oci.image.layer.v1.tar+zstd", docker + ".zstd":
		return "zstd"
	}
	return ""
}

type decompressor struct {
	src   source
	lim   Limits
	out   io.Reader
	n     int64
	close func()
	err   error
}

// source counts the compressed bytes and keeps the first error of its own.
type source struct {
	r   io.Reader
	n   int64
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF && s.err == nil {
		s.err = err
	}
	return n, err
}

func (d *decompressor) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.out.Read(p)
	d.n += int64(n)
	if d.n > ratioFrom && d.n/d.lim.Ratio > d.src.n {
		d.err = &reason.Error{Code: reason.LayerBomb, What: "decompress layer",
			Expected: fmt.Sprintf("at most %d bytes per compressed byte", d.lim.Ratio),
			Found:    fmt.Sprintf("%d bytes from %d", d.n, d.src.n)}
		return 0, d.err
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		if extra, bad := io.Copy(io.Discard, &d.src); bad != nil {
			err = bad
		} else if extra != 0 {
			err = d.fault(fmt.Errorf("%d bytes behind the end", extra))
		}
		d.err = err
	default:
		d.err = d.fault(err)
		err = d.err
	}
	return n, err
}

// fault is the refusal for a stream that does not decode, or the source's own
// error, for which it reads the rest.
func (d *decompressor) fault(err error) error {
	if d.src.err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(&d.src, d.lim.Bytes))
	}
	if d.src.err != nil && !errors.Is(d.src.err, io.ErrUnexpectedEOF) {
		return d.src.err
	}
	return &reason.Error{Code: reason.LayerMalformed, What: "decompress layer", Found: strings.TrimSpace(err.Error())}
}

func (d *decompressor) Close() error {
	if d.close != nil {
		d.close()
		d.close = nil
	}
	return nil
}
