package keeper

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// recordMax bounds a record, in bytes; a launch writes a few hundred.
const recordMax = 1 << 20

// Entry is one name in the record. The zero value is refused.
type Entry struct {
	Cgroup string `json:"cgroup,omitempty"`
	Folder string `json:"folder,omitempty"`
	Mount  string `json:"mount,omitempty"`
	Init   int    `json:"init,omitempty"`
	Start  uint64 `json:"start,omitempty"`
	Userns uint64 `json:"userns,omitempty"`
}

// Cgroup names a cgroup, "/ztlaunch/ID", in whatever hierarchies exist.
func Cgroup(path string) Entry { return Entry{Cgroup: path} }

// Folder names a folder or file to remove. Nothing that is mounted in it is
// touched: then it stays, as an error.
func Folder(path string) Entry { return Entry{Folder: path} }

// Mount names a mount point of ours in the host's mount namespace.
func Mount(path string) Entry { return Entry{Mount: path} }

// Init names a process, for hosts where the runtime makes no cgroup.
func Init(pid int) (Entry, error) {
	start, err := startTime(pid)
	return Entry{Init: pid, Start: start}, err
}

// Userns names the task's user namespace, for launches that may make no cgroup: an
// init that the runtime has left waiting is found there before its id is known.
func Userns(ns *os.File) (Entry, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		return Entry{}, os.NewSyscallError("fstat", err)
	}
	return Entry{Userns: st.Ino}, nil
}

// String is the entry for people: "cgroup /ztlaunch/x".
func (e Entry) String() string {
	switch {
	case e.Cgroup != "":
		return "cgroup " + e.Cgroup
	case e.Folder != "":
		return "folder " + e.Folder
	case e.Mount != "":
		return "mount " + e.Mount
	case e.Userns != 0:
		return "user namespace " + strconv.FormatUint(e.Userns, 10)
	}
	return "process " + strconv.Itoa(e.Init)
}

var errEntry = errors.New("not a name that a task can own")

// taskCgroup reports whether path is "/ztlaunch/" and one name of at most 128
// letters, digits and "_.-", which begins with a letter or digit.
func taskCgroup(path string) bool {
	name, ok := strings.CutPrefix(path, "/ztlaunch/")
	if !ok || name == "" || len(name) > 128 {
		return false
	}
	for i, c := range []byte(name) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return true
}

// check keeps a slip of ours from removing what is not a task's: a path must be
// clean and lie at least three deep.
func (e Entry) check() error {
	kinds := 0
	for _, path := range []string{e.Folder, e.Mount} {
		if path == "" {
			continue
		}
		kinds++
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.Count(path, "/") < 3 {
			return errEntry
		}
	}
	if e.Cgroup != "" {
		kinds++
		if !taskCgroup(e.Cgroup) {
			return errEntry
		}
	}
	if e.Init != 0 {
		kinds++
		if e.Init <= 1 {
			return errEntry
		}
	}
	if e.Userns != 0 {
		kinds++
		var own unix.Stat_t
		if err := unix.Stat("/proc/self/ns/user", &own); err != nil || own.Ino == e.Userns {
			return errEntry
		}
	}
	if kinds != 1 {
		return errEntry
	}
	return nil
}

// readRecord reads the record in the folder dir. Lines that mean nothing are
// told and passed over, so that the others still count.
func readRecord(dir string) ([]Entry, error) {
	f, err := os.Open(filepath.Join(dir, recordName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // died before the first name
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseRecord(f)
}

func parseRecord(r io.Reader) ([]Entry, error) {
	var entries []Entry
	var errs []error
	lines := bufio.NewReader(io.LimitReader(r, recordMax))
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return entries, errors.Join(errs...) // without its newline it was never finished
		}
		if err != nil {
			return entries, errors.Join(append(errs, err)...)
		}
		e, err := parseEntry(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("record line %d: %w", n, err))
			continue
		}
		entries = append(entries, e)
	}
}

func parseEntry(line []byte) (Entry, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	var e Entry
	if err := dec.Decode(&e); err != nil {
		return Entry{}, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return Entry{}, errors.New("trailing data")
	}
	return e, e.check()
}

// startTime is when a process started, in clock ticks after the boot: with its
// id it names one process.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The second field is the name in brackets and may hold anything.
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return 0, fmt.Errorf("process %d: malformed stat", pid)
	}
	return strconv.ParseUint(f[19], 10, 64)
}
