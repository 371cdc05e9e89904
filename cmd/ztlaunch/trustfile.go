package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/trust/tuf"
)

// inForce is the Sigstore root that counts, and how it came to.
type inForce struct {
	root   trust.Root
	record trust.Record // zero unless it is installed
	by     string       // embedded, file (installed from one) or tuf; named: by the command line, for this once
	source string
}

// rootInForce is the installed root, or else the embedded one. The record names the
// root's file by its digest: writing the record is what puts another in force, and
// the files of the record before are still there for who has just read that.
func (d dirs) rootInForce() (inForce, error) {
	for try := 0; ; try++ {
		raw, err := os.ReadFile(d.rootRecord())
		if errors.Is(err, fs.ErrNotExist) {
			return inForce{root: trust.Embedded(), by: "embedded", source: trust.EmbeddedSource}, nil
		}
		if err != nil {
			return inForce{}, &reason.Error{Code: reason.FileUnreadable, What: "read the record of the installed root", Err: err}
		}
		rec, err := trust.ParseRecord(raw)
		if err != nil {
			return inForce{}, err
		}
		raw, err = os.ReadFile(d.rootFile(rec.Root))
		if errors.Is(err, fs.ErrNotExist) && try < 3 { // two updates since the record was read
			continue
		}
		if err != nil {
			return inForce{}, &reason.Error{Code: reason.TrustRootChanged, What: "read the installed root", Expected: string(rec.Root), Err: err,
				Next: "ztlaunch trust add --replace FILE"}
		}
		root, err := trust.Installed(raw, rec)
		by := "file"
		if rec.Signed {
			by = "tuf"
		}
		return inForce{root, rec, by, rec.Source}, err
	}
}

// namedRoot reads a trusted_root.json.
func namedRoot(file string) (inForce, []byte, error) {
	raw, err := readCapped(file, trust.MaxRootSize)
	if err != nil {
		return inForce{}, nil, err
	}
	root, err := trust.FromJSON(raw)
	if err != nil {
		return inForce{}, nil, err
	}
	if root.File() == trust.Embedded().File() {
		return inForce{root: trust.Embedded(), by: "named", source: file}, raw, nil // the same, and its date is known
	}
	return inForce{root: root, by: "named", source: file}, raw, nil
}

// keptMetadata is what the record says was seen of the TUF repository.
func (d dirs) keptMetadata(m *trust.Metadata) (tuf.Kept, error) {
	var k tuf.Kept
	for _, f := range []struct {
		to *[]byte
		of trust.Version
	}{{&k.Root, m.Root}, {&k.Timestamp, m.Timestamp}, {&k.Snapshot, m.Snapshot}, {&k.Targets, m.Targets}} {
		raw, err := os.ReadFile(d.rootFile(f.of.Digest))
		if sum := digest.FromBytes(raw); err != nil || sum != f.of.Digest {
			return tuf.Kept{}, &reason.Error{Code: reason.TrustRootChanged, What: "read the kept metadata of TUF", Expected: string(f.of.Digest),
				Found: string(sum), Err: err, Next: "ztlaunch trust update --replace --tuf-root FILE starts anew"}
		}
		*f.to = raw
	}
	return k, nil
}

// putRoot puts a root in force: first the files that its record names, then the
// record. Files that neither it nor the record before names are removed. Call it in
// holding.
func (d dirs) putRoot(r, before trust.Record, files ...[]byte) error {
	for _, raw := range files {
		if err := replaceFile(d.rootFile(digest.FromBytes(raw)), raw, 0o600); err != nil {
			return err
		}
	}
	raw, err := r.Encode()
	if err == nil {
		err = replaceFile(d.rootRecord(), raw, 0o600)
	}
	if err != nil {
		return err
	}
	keep := []string{d.rootRecord()}
	for _, r := range []trust.Record{r, before} {
		keep = append(keep, d.rootFile(r.Root))
		if m := r.TUF; m != nil {
			keep = append(keep, d.rootFile(m.Root.Digest), d.rootFile(m.Timestamp.Digest), d.rootFile(m.Snapshot.Digest), d.rootFile(m.Targets.Digest))
		}
	}
	there, _ := filepath.Glob(filepath.Join(d.roots(), "*"))
	for _, file := range there {
		if !slices.Contains(keep, file) {
			_ = os.Remove(file) // it is in nobody's way
		}
	}
	return nil
}

func (d dirs) roots() string      { return filepath.Join(d.State, "trust", "roots") }
func (d dirs) rootRecord() string { return filepath.Join(d.roots(), "record.json") }

func (d dirs) rootFile(sum digest.Digest) string {
	name := "none"
	if sum != "" {
		name = sum.Encoded() // of a record that was parsed, or of our own making
	}
	return filepath.Join(d.roots(), name+".json")
}
