package tree

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Layer is one scanned layer: what it does to the layers below it. Only Scan
// makes one; Merge refuses the zero Layer.
type Layer struct {
	diffID    digest.Digest
	size      int64
	whiteouts []whiteout
	ops       []op
}

// whiteout hides path, or the children of path, of the layers below.
type whiteout struct {
	path   string
	opaque bool
}

// op puts an entry in place; target is the file that a hard link names.
type op struct {
	entry  Entry
	target string
}

// DiffID is the digest of the uncompressed layer.
func (l Layer) DiffID() digest.Digest { return l.diffID }

// Size is the length of the uncompressed layer in bytes.
func (l Layer) Size() int64 { return l.size }

// Scan reads an uncompressed layer to its end, hashes it and each of its files,
// and returns what it holds. The package comment has the rules. Errors of r are
// returned as they are, wrapped.
func Scan(r io.Reader, diffID digest.Digest, lim Limits) (Layer, error) {
	s := &scan{
		lim:     lim.withDefaults(),
		in:      newPump(r),
		all:     sha256.New(),
		layer:   Layer{diffID: diffID},
		places:  map[string]int{},
		parents: map[string]bool{".": true},
		file:    sha256.New(),
		buf:     make([]byte, 128<<10),
	}
	defer s.in.stop()
	err := s.run()
	if over, ok := reason.Of(err); ok && over.Code == reason.TarLimit {
		return Layer{}, err // reading on is what the limit forbids
	}
	if err == nil {
		err = s.trailing()
	}
	// A stream that is not the diffID's is reported as that, so read it all.
	if _, bad := io.Copy(io.Discard, s); bad != nil {
		return Layer{}, fmt.Errorf("read layer %s: %w", diffID, bad)
	}
	if sum := digest.NewDigest(digest.SHA256, s.all); sum != diffID {
		return Layer{}, &reason.Error{Code: reason.DigestMismatchDiffID, What: "read layer " + string(diffID),
			Expected: string(diffID), Found: string(sum)}
	}
	if err != nil {
		return Layer{}, err
	}
	s.layer.size = s.off
	return s.layer, nil
}

type scan struct {
	lim     Limits
	in      *pump
	all     hash.Hash
	off     int64 // bytes of the uncompressed layer read so far
	text    int64
	layer   Layer
	places  map[string]int  // path -> index in layer.ops
	parents map[string]bool // paths that other paths of this layer lie below
	file    hash.Hash
	buf     []byte
}

// Read is the layer's stream as the tar reader sees it: counted, capped, hashed.
func (s *scan) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	s.off += int64(n)
	s.all.Write(p[:n])
	if s.off > s.lim.Bytes {
		return 0, s.limit("bytes", s.lim.Bytes)
	}
	return n, err
}

func (s *scan) limit(what string, most int64) error {
	return &reason.Error{Code: reason.TarLimit, What: "read layer " + string(s.layer.diffID),
		Expected: fmt.Sprintf("at most %d %s", most, what), Found: "more"}
}

func (s *scan) run() error {
	tr := tar.NewReader(s)
	for n := 0; ; n++ {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, tar.ErrFieldTooLong):
			return &reason.Error{Code: reason.TarMalformed, What: "read layer " + string(s.layer.diffID), Found: err.Error()}
		case err != nil:
			return fmt.Errorf("read layer %s: %w", s.layer.diffID, err)
		case n >= s.lim.Entries:
			return s.limit("entries", int64(s.lim.Entries))
		}
		if s.text += textSize(h); s.text > s.lim.Text {
			return s.limit("bytes of names", s.lim.Text)
		}
		if err := s.entry(tr, h); err != nil {
			return err
		}
	}
}

// trailing reads to the end and requires zeros.
func (s *scan) trailing() error {
	for {
		n, err := s.Read(s.buf)
		for i, c := range s.buf[:n] {
			if c != 0 {
				return &reason.Error{Code: reason.TarTrailing, What: "read layer " + string(s.layer.diffID),
					Expected: "zero bytes behind the end of the archive", Found: fmt.Sprintf("data at byte %d", s.off-int64(n-i))}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read layer %s: %w", s.layer.diffID, err)
		}
	}
}

// entry turns one header, and its content, into an op or a whiteout.
func (s *scan) entry(tr io.Reader, h *tar.Header) error {
	refuse := func(code reason.Code, found string) error {
		return &reason.Error{Code: code, What: fmt.Sprintf("read layer %s: entry %q", s.layer.diffID, h.Name), Found: found}
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		for k := range h.PAXRecords {
			if k != "comment" {
				return refuse(reason.TarType, fmt.Sprintf("a global header that sets %q", k))
			}
		}
		return nil
	}
	e, code, found := headerEntry(h)
	if code != "" {
		return refuse(code, found)
	}
	if e.Type == 0 { // a device of /dev
		return nil
	}
	if e.Path != "." {
		if w, is, ok := asWhiteout(e.Path); is {
			if !ok || h.Typeflag != tar.TypeReg || h.Size != 0 {
				return refuse(reason.TarWhiteout, e.Type.String())
			}
			s.layer.whiteouts = append(s.layer.whiteouts, w)
			return nil
		}
	}
	o := op{entry: e}
	switch h.Typeflag {
	case tar.TypeLink:
		if o.target, code = cleanName(h.Linkname); code != "" {
			return refuse(reason.TarHardlink, fmt.Sprintf("target %q: %s", h.Linkname, code))
		}
		if i, ok := s.places[o.target]; ok && s.layer.ops[i].entry.Type != File {
			return refuse(reason.TarHardlink, fmt.Sprintf("target %q is a %s", h.Linkname, s.layer.ops[i].entry.Type))
		}
	case tar.TypeReg:
		o.entry.Blob, o.entry.Offset = s.layer.diffID, s.off
		s.file.Reset()
		n, err := io.CopyBuffer(hashOnly{s.file}, tr, s.buf)
		if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && n != h.Size {
			return refuse(reason.TarMalformed, fmt.Sprintf("%d of %d bytes", n, h.Size))
		}
		if err != nil {
			return fmt.Errorf("read layer %s: entry %q: %w", s.layer.diffID, h.Name, err)
		}
		o.entry.Size, o.entry.Digest = n, digest.NewDigest(digest.SHA256, s.file)
	}
	return s.put(o, refuse)
}

// hashOnly hides everything but Write, so that the copy uses our buffer.
type hashOnly struct{ io.Writer }

// put adds o after holding it against the rest of the layer.
func (s *scan) put(o op, refuse func(reason.Code, string) error) error {
	p := o.entry.Path
	if s.parents[p] && o.entry.Type != Dir {
		return refuse(reason.TarParent, "a "+o.entry.Type.String()+" where the same layer has a directory")
	}
	if i, ok := s.places[p]; ok {
		old := &s.layer.ops[i]
		if old.entry.Type == Dir && o.entry.Type == Dir {
			old.entry = o.entry
			return nil
		}
		if !same(*old, o) {
			return refuse(reason.TarDuplicate, "another entry of the same name")
		}
		return nil
	}
	if p != "." {
		for up := parent(p); !s.parents[up]; up = parent(up) {
			if i, ok := s.places[up]; ok && s.layer.ops[i].entry.Type != Dir {
				return refuse(reason.TarParent, fmt.Sprintf("%q is a %s", up, s.layer.ops[i].entry.Type))
			}
			s.parents[up] = true
		}
	}
	s.places[p] = len(s.layer.ops)
	s.layer.ops = append(s.layer.ops, o)
	return nil
}

// same reports whether two ops on one path say the same, wherever the bytes lie.
func same(a, b op) bool {
	a.entry.Offset, b.entry.Offset = 0, 0
	return a.target == b.target && string(appendLine(nil, &a.entry)) == string(appendLine(nil, &b.entry))
}

const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// asWhiteout reports whether p is a whiteout, and whether it is one that can be
// obeyed. A whiteout's name anywhere but at the end cannot.
func asWhiteout(p string) (w whiteout, is, ok bool) {
	up, name := parent(p), base(p)
	if up != "." && (strings.HasPrefix(up, whiteoutPrefix) || strings.Contains(up, "/"+whiteoutPrefix)) {
		return whiteout{}, true, false
	}
	if !strings.HasPrefix(name, whiteoutPrefix) {
		return whiteout{}, false, false
	}
	if name == whiteoutOpaque {
		return whiteout{path: up, opaque: true}, true, true
	}
	hidden := name[len(whiteoutPrefix):]
	if hidden == "" || hidden == "." || hidden == ".." || strings.HasPrefix(name, whiteoutMeta) {
		return whiteout{}, true, false
	}
	return whiteout{path: p[:len(p)-len(name)] + hidden}, true, true
}
