// Package content owns bytes and their digests: a reader that cannot end on
// wrong bytes, a store of blobs under their digests, and strict JSON.
//
// # Store
//
// A store is a folder, mode 0700:
//
//	blobs/sha256/HEX   a blob under the SHA-256 of its bytes, mode 0400
//	kept/HEX           a derived value; its name is kind NUL (input SOH)..., HEX = SHA-256(name)
//	refs/HEX           a record with a name of the caller's choice, HEX = SHA-256(name)
//	damaged/HEX        what lay under a digest that is not its own, set aside by its reader
//	partial/           files being written; the name ends in .part
//	key                32 random bytes, mode 0600: authenticates kept and refs
//
// A blob proves itself: every read through the store hashes it again, and
// nothing is remembered about its file (no times, no sizes). Kept values and
// records cannot prove themselves, so each carries a MAC in front:
//
//	HMAC-SHA256(key, purpose NUL len(name) NUL name value) || name LF value
//
// where purpose is "kept" or "ref" and len, in bytes, is decimal. Whoever can write the store but cannot read
// the key can delete them or put an older value of the same name back, and
// nothing else.
//
// Every write goes to an unnamed (O_TMPFILE) or partial file, is synced and
// appears under its name in one step, so that a reader never sees half of it
// and a kill leaves at most a file in partial/, which the next Open removes
// when no process holds its lock.
//
// # Not checked here
//
// What the bytes mean, who said so, and whether they should be used.
package content

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// Mismatch says that bytes are not those that a digest and a size name.
type Mismatch struct {
	Want, Got         digest.Digest // Got is empty if the size alone was wrong
	WantSize, GotSize int64         // bytes; WantSize is -1 if it was not known; GotSize is at least, when Got is empty and more than WantSize came
}

// Error reads `digest mismatch: expected sha256:..., found sha256:...`.
func (m *Mismatch) Error() string {
	if m.WantSize >= 0 && m.WantSize != m.GotSize {
		return fmt.Sprintf("digest mismatch: expected %d bytes, found %s", m.WantSize, m.Found())
	}
	return fmt.Sprintf("digest mismatch: expected %s, found %s", m.Want, m.Got)
}

// Expected is the digest or the size that was not met.
func (m *Mismatch) Expected() string {
	if m.WantSize >= 0 && m.WantSize != m.GotSize {
		return fmt.Sprintf("%d bytes", m.WantSize)
	}
	return string(m.Want)
}

// Found is what was there instead.
func (m *Mismatch) Found() string {
	switch {
	case m.WantSize >= 0 && m.GotSize > m.WantSize:
		return "more"
	case m.WantSize >= 0 && m.GotSize < m.WantSize:
		return fmt.Sprintf("%d bytes", m.GotSize)
	}
	return string(m.Got)
}

// errDigest is returned for a digest that is not sha256 in 64 lower-case
// hexadecimal digits; such a digest never becomes a file name.
var errDigest = errors.New("not a sha256 digest")

// CheckDigest accepts sha256 in 64 lower-case hexadecimal digits.
func CheckDigest(d digest.Digest) error {
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %.80q: %w", string(d), errDigest)
	}
	return nil
}

// Reader reads a stream that must have one digest. It cannot reach io.EOF
// unless size and SHA-256 match: it ends in *Mismatch instead, and so does
// every later Read. If the size is known, the last chunk is withheld until
// the digest has been compared and the end been seen, so not even a caller
// that counts bytes gets all of a stream that is not the right one.
type Reader struct {
	r    io.Reader
	hash hash.Hash
	want digest.Digest
	size int64 // -1 unknown
	n    int64
	err  error // sticky; io.EOF once proved
}

// Verify wraps r, which must be want and, unless size is -1, size bytes long.
// It reads at most one byte more than size. Close closes r if r can be closed.
func Verify(r io.Reader, want digest.Digest, size int64) *Reader {
	v := &Reader{r: r, hash: sha256.New(), want: want, size: size}
	if err := CheckDigest(want); err != nil {
		v.err = err
	} else if size < -1 {
		v.err = fmt.Errorf("blob %s: negative size", want)
	}
	return v
}

// Read implements io.Reader.
func (v *Reader) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if v.size >= 0 && int64(len(p)) > v.size-v.n {
		p = p[:v.size-v.n]
	}
	n := 0
	if len(p) > 0 {
		var err error
		if n, err = v.r.Read(p); err != nil && err != io.EOF {
			v.err = err
		} else if err == io.EOF {
			v.take(p[:n])
			if v.err = v.proof(); v.err != io.EOF {
				return 0, v.err
			}
			return n, nil
		}
		v.take(p[:n])
		if v.err != nil || v.n != v.size {
			return n, v.err
		}
	}
	// All bytes are here: prove them before the last ones are handed over.
	if v.err = v.end(); v.err != io.EOF {
		return 0, v.err
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (v *Reader) take(p []byte) {
	v.hash.Write(p)
	v.n += int64(len(p))
}

// end looks for a byte too many, then compares the digest.
func (v *Reader) end() error {
	var one [1]byte
	for range 100 {
		n, err := v.r.Read(one[:])
		if n > 0 {
			return &Mismatch{Want: v.want, WantSize: v.size, GotSize: v.n + 1}
		}
		if err == io.EOF {
			return v.proof()
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

func (v *Reader) proof() error {
	if v.size >= 0 && v.n != v.size {
		return &Mismatch{Want: v.want, WantSize: v.size, GotSize: v.n}
	}
	if got := sum(v.hash); got != v.want {
		return &Mismatch{Want: v.want, Got: got, WantSize: v.size, GotSize: v.n}
	}
	return io.EOF
}

// Close closes the stream beneath, proved or not.
func (v *Reader) Close() error {
	if v.err == nil {
		v.err = errors.New("read after close")
	}
	if c, ok := v.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func sum(h hash.Hash) digest.Digest {
	return digest.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}
