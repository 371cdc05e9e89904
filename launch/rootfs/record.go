package rootfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// record is what is written down about a kept seal, as one JSON object in a 0600
// file. It is believed only as far as the mount at hand agrees.
type record struct {
	Version string        `json:"version"`
	Boot    string        `json:"boot"`   // /proc/sys/kernel/random/boot_id
	Mount   uint64        `json:"mount"`  // unique mount id
	Form    Form          `json:"form"`   //
	Tree    digest.Digest `json:"tree"`   //
	Image   digest.Digest `json:"image"`  //
	Size    int64         `json:"size"`   // bytes
	Hashed  time.Time     `json:"hashed"` // last time every byte was read
}

const maxRecord = 4096

// bootID names this boot of the host.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// readRecord reads a record as strictly as it was written.
func readRecord(path string) (record, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return record{}, err
	}
	defer closeAll(f)
	raw, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return record{}, err
	}
	return parseRecord(raw)
}

func parseRecord(raw []byte) (record, error) {
	var r record
	if len(raw) > maxRecord {
		return record{}, fmt.Errorf("read seal record: over %d bytes", maxRecord)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return record{}, fmt.Errorf("read seal record: %w", err)
	}
	if again, err := r.text(); err != nil || !bytes.Equal(again, raw) {
		return record{}, fmt.Errorf("read seal record: not as it was written")
	}
	return r, nil
}

func (r record) text() ([]byte, error) {
	b, err := json.Marshal(r)
	return append(b, '\n'), err
}

// write puts the record in place at once. Its file's time is when the seal was last
// used. The file has no name before it is whole, so that a launcher that is killed
// leaves none.
func (r record) write(path string, used time.Time) error {
	b, err := r.text()
	if err != nil {
		return err
	}
	fresh := path + ".new" // of a launcher that was killed between two names
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	named := errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR)
	if named { // a file system without nameless files
		fd, err = unix.Open(fresh, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	own := "/proc/self/fd/" + strconv.Itoa(fd)
	_, err = f.Write(b)
	if err == nil {
		err = os.Chtimes(own, used, used)
	}
	if err == nil && !named {
		err = os.NewSyscallError("linkat", unix.Linkat(unix.AT_FDCWD, own, unix.AT_FDCWD, fresh, unix.AT_SYMLINK_FOLLOW))
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	return err
}
