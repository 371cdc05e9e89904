// Package runc is the only place that executes the OCI runtime. It finds the
// runtime, proves it, and speaks the runtime's command line (OCI runtime-spec
// "operations": create, start, state, kill, delete; exec as runc defines it)
// in types.
//
// The pinned runtime is a file beside ztlaunch whose sha256 the linker put into
// ztlaunch. It is never looked up on PATH, and never executed from the file
// that was hashed: runc opens its own binary again by path when it starts a
// container's init, so a proven descriptor alone binds nothing. What runs is a
// sealed copy that nobody can write:
//
//   - kept: a read-only ramfs, mounted at KEEP/<sha256> in a folder that only
//     root can enter, hashed when it was sealed. KEEP/<sha256>.seal records the
//     boot id, the mount namespace, the unique id of the mount and the sha256.
//     A later launch proves that the record is of the mount that it sees
//     (statmount: id, ramfs, superblock read-only) and hashes nothing.
//   - memfd: a sealed memfd made for this one process, where a mount cannot be
//     made or seen.
//
// An alternative runtime (--runtime) is not pinned: it is held to the table of
// version floors and to its own `features`, and its digest is only told.
//
// For the pinned runtime the package uses what its bytes fix and the command
// line does not promise: the exec fifo in the state folder starts the task
// without one more process (a start is most of a launch's time). `features` and
// `--version` are functions of those bytes, so they are tested when the runtime
// is built, not when it is used.
//
// The package does not check the container's configuration, does not look into
// the runtime's state folder otherwise, and cleans nothing up: after a create
// that failed or was killed, only the names that the caller chose are to be
// trusted.
package runc

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

// pin is the sha256 of the runtime, in hex, set by the linker
// (-X .../launch/runc.pin=). Empty means that this build pins none.
var pin string

// Version is the runtime that the pin is of.
const Version = "1.5.2"

// sizeMax bounds the runtime's file, in bytes.
const sizeMax = 64 << 20

// Pin is the sha256, in hex, of the runtime that this build accepts; "" when
// it was built without one.
func Pin() string { return pin }

// Form is how the bytes that run are held.
type Form string

// The forms.
const (
	Kept  Form = "kept"  // read-only ramfs, proved by its mount
	Memfd Form = "memfd" // sealed memfd of this process
	Plain Form = "plain" // the operator's file as it lies: alternatives only
)

// Runtime is a runtime that may be executed. The zero value is refused by every
// operation.
type Runtime struct {
	exe     *os.File
	path    string // where it was found
	digest  digest.Digest
	version string
	form    Form
	pinned  bool
}

// Path is the file that the runtime was found in; for a kept one, its seal.
func (r Runtime) Path() string { return r.path }

// Digest is the sha256 of the bytes that run.
func (r Runtime) Digest() digest.Digest { return r.digest }

// Version is the runtime's version, "1.5.2".
func (r Runtime) Version() string { return r.version }

// Form is how the bytes are held.
func (r Runtime) Form() Form { return r.form }

// Pinned reports whether the digest is the one compiled in.
func (r Runtime) Pinned() bool { return r.pinned }

// Close gives the descriptor back. Containers that run are not affected.
func (r Runtime) Close() {
	if r.exe != nil {
		r.exe.Close()
	}
}

// file is a path to the proven bytes that any process of this user can
// execute while ztlaunch lives. It names the process because /proc/self is the
// child's own by the time that it executes, and its descriptor of that number
// may be another file by then.
func (r Runtime) file() string {
	if r.form == Plain {
		return r.path
	}
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(r.exe.Fd()))
}

// Candidates are the places where ztlaunch's own installation has the runtime,
// for the program file exe.
func Candidates(exe string) []string {
	dir := filepath.Dir(exe)
	return []string{
		filepath.Join(dir, "ztlaunch-runc"),
		filepath.Join(dir, "..", "libexec", "ztlaunch", "ztlaunch-runc"),
	}
}

// Find proves the pinned runtime: the copy kept under the folder keep if there
// is one, else the first of the candidates that exists, which is then kept. An
// empty keep, or one where nothing can be kept, gives the memfd form. The pin
// is a sha256 in hex.
//
// A kept copy is mounted in the caller's mount namespace: call Find before
// entering a private one.
//
// Codes: runtime-unpinned, runtime-absent, runtime-unreadable,
// runtime-digest-mismatch.
func Find(keep, pin string, candidates ...string) (Runtime, error) {
	const what = "find the runtime"
	if digest.NewDigestFromEncoded(digest.SHA256, pin).Validate() != nil {
		return Runtime{}, &reason.Error{Code: reason.RuntimeUnpinned, What: what, Expected: "the runtime's sha256 compiled in", Found: found(pin),
			Next: "run a ztlaunch built by its Makefile (make build), or one from a release"}
	}
	if keep != "" {
		if f, err := openKept(keep, pin); err == nil {
			return Runtime{f, f.Name(), sha(pin), Version, Kept, true}, nil
		}
	}
	src, err := openFirst(candidates)
	if err != nil {
		return Runtime{}, err
	}
	defer src.Close()
	if keep != "" {
		f, err := makeKept(keep, pin, src)
		if err == nil {
			return Runtime{f, src.Name(), sha(pin), Version, Kept, true}, nil
		}
		if _, refused := reason.Of(err); refused {
			return Runtime{}, err
		}
		if _, err := src.Seek(0, io.SeekStart); err != nil {
			return Runtime{}, unreadable(src.Name(), err)
		}
	}
	f, err := makeMemfd(pin, src)
	if err != nil {
		return Runtime{}, err
	}
	return Runtime{f, src.Name(), sha(pin), Version, Memfd, true}, nil
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
	expected := "ztlaunch-runc beside ztlaunch"
	if len(candidates) > 0 {
		expected = candidates[0]
	}
	return nil, &reason.Error{Code: reason.RuntimeAbsent, What: "find the runtime", Expected: expected, Found: "no such file",
		Next: "install ztlaunch with its helper (make install)"}
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
		Next: "install ztlaunch and its helper from the same build"}
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
