// Package program proves one of ztlaunch's own programs before it is executed:
// the OCI runtime and the keeper, files beside ztlaunch whose sha256 the linker
// put into it. They are never looked up on PATH, and never executed from the file
// that was hashed: that file could be another by then, and runc opens its own
// binary again by path when it starts a container's init. What runs is a sealed
// copy that nobody can write:
//
//   - kept: a read-only ramfs, mounted at KEEP/<sha256> in a folder that only
//     root can enter, hashed when it was sealed. KEEP/<sha256>.seal records the
//     boot id, the mount namespace, the unique id of the mount and the sha256.
//     A later launch proves that the record is of the mount that it sees
//     (statmount: id, ramfs, superblock read-only) and hashes nothing. A keep
//     folder is for one program: the seal of another pin in it is dropped.
//   - memfd: a sealed memfd made for this one process, where a mount cannot be
//     made or seen.
//
// The package executes nothing.
package program

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// sizeMax bounds a program's file, in bytes.
const sizeMax = 64 << 20

// Form is how the bytes that run are held.
type Form string

// The forms.
const (
	Kept  Form = "kept"  // read-only ramfs, proved by its mount
	Memfd Form = "memfd" // sealed memfd of this process
	Plain Form = "plain" // the operator's file as it lies: Open alone
)

// Program is a program that may be executed. The zero Program is none.
type Program struct {
	exe    *os.File
	path   string // where it was found
	digest digest.Digest
	form   Form
}

// Zero reports whether there is no program.
func (p Program) Zero() bool { return p.exe == nil }

// Path is the file that the program was found in; for a kept one, its seal.
func (p Program) Path() string { return p.path }

// Digest is the sha256 of the bytes that run.
func (p Program) Digest() digest.Digest { return p.digest }

// Form is how the bytes are held.
func (p Program) Form() Form { return p.form }

// Close gives the descriptor back. What runs already is not affected.
func (p Program) Close() {
	if p.exe != nil {
		p.exe.Close()
	}
}

// File is a path to the proven bytes that any process of this user can execute
// while this one lives. It names this process because /proc/self is the child's
// own by the time that it executes, and its descriptor of that number may be
// another file by then.
func (p Program) File() string {
	if p.form == Plain {
		return p.path
	}
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(p.exe.Fd()))
}

// Beside are the places where an installation has the program name, for
// ztlaunch's own file exe.
func Beside(exe, name string) []string {
	dir := filepath.Dir(exe)
	return []string{filepath.Join(dir, name), filepath.Join(dir, "..", "libexec", "ztlaunch", name)}
}

// Find proves a pinned program: the copy kept under the folder keep if there is
// one, else the first of the candidates that exists, which is then kept. An empty
// keep, or one where nothing can be kept, gives the memfd form. The pin is a
// sha256 in hex.
//
// A kept copy is mounted in the caller's mount namespace: call Find before
// entering a private one.
//
// Codes: runtime-unpinned, runtime-absent, runtime-unreadable,
// runtime-digest-mismatch.
func Find(keep, pin string, candidates ...string) (Program, error) {
	if digest.NewDigestFromEncoded(digest.SHA256, pin).Validate() != nil {
		return Program{}, &reason.Error{Code: reason.RuntimeUnpinned, What: "find " + first(candidates), Expected: "its sha256 compiled in", Found: found(pin),
			Next: "run a ztlaunch built by its Makefile (make build), or one from a release"}
	}
	if keep != "" {
		if f, err := openKept(keep, pin); err == nil {
			return Program{f, f.Name(), sha(pin), Kept}, nil
		}
	}
	src, err := openFirst(candidates)
	if err != nil {
		return Program{}, err
	}
	defer src.Close()
	if keep != "" {
		f, err := makeKept(keep, pin, src)
		if err == nil {
			return Program{f, src.Name(), sha(pin), Kept}, nil
		}
		if _, refused := reason.Of(err); refused {
			return Program{}, err
		}
		if _, err := src.Seek(0, io.SeekStart); err != nil {
			return Program{}, unreadable(src.Name(), err)
		}
	}
	f, err := makeMemfd(pin, src)
	if err != nil {
		return Program{}, err
	}
	return Program{f, src.Name(), sha(pin), Memfd}, nil
}

// Open takes the operator's own program at path. Nothing binds the file that is
// hashed to the one that runs: the digest is for the record.
//
// Codes: runtime-absent, runtime-unreadable.
func Open(path string) (Program, error) {
	f, err := openFirst([]string{path})
	if err != nil {
		return Program{}, err
	}
	d, err := digest.SHA256.FromReader(io.LimitReader(f, sizeMax))
	if err != nil {
		f.Close()
		return Program{}, unreadable(path, err)
	}
	return Program{f, path, d, Plain}, nil
}

// first names a program by the first place where it would be.
func first(candidates []string) string {
	if len(candidates) == 0 {
		return "a program of ztlaunch's"
	}
	return candidates[0]
}

// openFirst opens the first candidate that exists.
func openFirst(candidates []string) (*os.File, error) {
	for _, c := range candidates {
		f, err := os.OpenFile(c, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, unreadable(c, err)
		}
		st, err := f.Stat()
		if err == nil && !st.Mode().IsRegular() {
			err = errors.New("not a regular file")
		}
		if err == nil && st.Size() > sizeMax {
			err = errors.New("larger than " + strconv.Itoa(sizeMax) + " bytes")
		}
		if err != nil {
			f.Close()
			return nil, unreadable(c, err)
		}
		return f, nil
	}
	return nil, &reason.Error{Code: reason.RuntimeAbsent, What: "find " + filepath.Base(first(candidates)), Expected: first(candidates), Found: "no such file",
		Next: "install ztlaunch with its helpers (make install)"}
}

// copyPinned copies src to dst and refuses any bytes but the pinned.
func copyPinned(dst io.Writer, src *os.File, pin string) error {
	h := sha256.New()
	buf := make([]byte, 256<<10)
	_, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(h, dst)}, struct{ io.Reader }{io.LimitReader(src, sizeMax)}, buf)
	if err != nil {
		return unreadable(src.Name(), err)
	}
	return matches(src.Name(), pin, digest.NewDigest(digest.SHA256, h))
}

// matches refuses a digest other than the pin.
func matches(name, pin string, got digest.Digest) error {
	if got == sha(pin) {
		return nil
	}
	return &reason.Error{Code: reason.RuntimeMismatch, What: "check " + name, Expected: string(sha(pin)), Found: string(got),
		Next: "install ztlaunch and its helpers from the same build"}
}

func sha(pin string) digest.Digest { return digest.NewDigestFromEncoded(digest.SHA256, pin) }

func unreadable(name string, err error) error {
	return &reason.Error{Code: reason.RuntimeUnreadable, What: "read " + name, Err: err}
}

func found(s string) string {
	if s == "" {
		return "none"
	}
	return strconv.Quote(s)
}
