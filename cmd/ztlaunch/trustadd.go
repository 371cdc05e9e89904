package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/trust/tuf"
)

// successor is a root that is to be put in force.
type successor struct {
	root    trust.Root
	record  trust.Record
	files   [][]byte // that the record names
	follows bool     // its repository vouches for it as the next after the one in force
}

// trustAdd installs a root from a file.
func trustAdd(w world, args []string) int {
	fs := newFlags("trust add", true)
	replace := fs.Bool("replace", false, "also where it drops or widens an authority or log of the root in force")
	if err := w.parse(fs, "[--replace] FILE", args); err != nil {
		return w.parsed("trust", err)
	}
	if fs.NArg() != 1 {
		return w.fail("trust", wrong("read the command", "one trusted_root.json", "ztlaunch trust add FILE"))
	}
	return w.succeed(*replace, func(was inForce) (successor, error) {
		named, raw, err := namedRoot(fs.Arg(0))
		if err != nil {
			return successor{}, err
		}
		at, err := filepath.Abs(fs.Arg(0))
		if err != nil {
			return successor{}, &reason.Error{Code: reason.FileUnreadable, What: "find " + fs.Arg(0), Err: err}
		}
		rec := trust.Record{Root: named.root.File(), Source: at, Date: named.root.Date(), Installed: w.now(), TUF: was.record.TUF}
		if rec.Root == was.record.Root { // it is already
			rec = was.record
		}
		return successor{named.root, rec, [][]byte{raw}, false}, nil
	})
}

// trustUpdate fetches the newest root through TUF: the one verb that speaks to
// anybody about whom to believe.
func trustUpdate(ctx context.Context, w world, args []string) int {
	fs := newFlags("trust update", true)
	from := fs.String("from", "", "https URL, or folder with a mirror (default: as the last time, else "+tuf.PublicGood+")")
	anchor := fs.String("tuf-root", "", "the root.json to start from (default: as the last time, else the embedded one of the public-good instance)")
	replace := fs.Bool("replace", false, "also another repository's root, and where it drops or widens what is in force")
	if err := w.parse(fs, "[flags]", args); err != nil {
		return w.parsed("trust", err)
	}
	if fs.NArg() > 0 {
		return w.fail("trust", wrong("read the command", "no more words: --from names the place", "ztlaunch trust update --from URL"))
	}
	return w.succeed(*replace, func(was inForce) (successor, error) {
		at := *from
		if at == "" {
			at = tuf.PublicGood
			if was.record.Signed {
				at = was.record.Source
			}
		}
		if !strings.Contains(at, "://") {
			abs, err := filepath.Abs(at)
			if err != nil {
				return successor{}, &reason.Error{Code: reason.FileUnreadable, What: "find " + at, Err: err}
			}
			at = abs
			if err := mirror(at); err != nil {
				return successor{}, err
			}
		}
		kept, first, err := w.chain(was, *anchor, *replace)
		if err != nil {
			return successor{}, err
		}
		o := fetch.Options{Proxy: fetch.Proxy}
		place, err := o.Documents(at)
		if err != nil {
			return successor{}, err
		}
		defer place.Close()
		u, err := tuf.Refresh(kept, func(name string, limit int64) ([]byte, error) { return place.Read(ctx, name, limit) }, w.now())
		if err != nil {
			return successor{}, err
		}
		root, err := trust.FromJSON(u.Target)
		if err != nil {
			return successor{}, err
		}
		version := func(n int64, raw []byte) trust.Version {
			return trust.Version{Version: n, Digest: digest.FromBytes(raw)}
		}
		rec := trust.Record{Root: root.File(), Source: at, Date: w.now(), Installed: w.now(), Signed: true, TUF: &trust.Metadata{Anchor: first,
			Root: version(u.Versions.Root, u.Kept.Root), Timestamp: version(u.Versions.Timestamp, u.Kept.Timestamp),
			Snapshot: version(u.Versions.Snapshot, u.Kept.Snapshot), Targets: version(u.Versions.Targets, u.Kept.Targets)}}
		follows := was.record.Signed || was.by == "embedded" && first == digest.FromBytes(tuf.PublicGoodRoot())
		return successor{root, rec, [][]byte{u.Target, u.Kept.Root, u.Kept.Timestamp, u.Kept.Snapshot, u.Kept.Targets}, follows}, nil
	})
}

// mirror refuses a folder that was never a TUF repository: it holds none of the files
// of one.
func mirror(at string) error {
	entries, err := os.ReadDir(at)
	if err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		for _, role := range []string{"root.json", "timestamp.json", "snapshot.json", "targets.json"} {
			if strings.HasSuffix(e.Name(), role) {
				return true
			}
		}
		return false
	}) {
		return nil //nolint:nilerr // what else is wrong there, reading it tells
	}
	return &reason.Error{Code: reason.FileUnreadable, What: "read the mirror " + at, Found: "none of them",
		Expected: "a folder with timestamp.json and the files that it leads to, as a TUF repository has them",
		Next:     "name the folder of a mirror, or ask the repository itself: ztlaunch trust update"}
}

// chain is where an update starts: at what was kept, or else at the first root,
// whose digest it returns. Another first root than before is another repository,
// and takes the operator's word.
func (w world) chain(was inForce, anchor string, replace bool) (tuf.Kept, digest.Digest, error) {
	first := tuf.PublicGoodRoot()
	if anchor != "" {
		raw, err := readCapped(anchor, tuf.MaxRoot)
		if err == nil {
			err = tuf.CheckRoot(raw)
		}
		if err != nil {
			return tuf.Kept{}, "", err
		}
		first = raw
	}
	sum, seen := digest.FromBytes(first), was.record.TUF
	switch {
	case seen != nil && (anchor == "" || sum == seen.Anchor):
		kept, err := w.dirs().keptMetadata(seen)
		return kept, seen.Anchor, err
	case seen != nil && !replace:
		return tuf.Kept{}, "", &reason.Error{Code: reason.TrustRootRewound, What: "start from " + anchor, Expected: "the root.json that updates started from, " + string(seen.Anchor),
			Found: string(sum), Next: "without --tuf-root, or with --replace if it is to be another repository from now on"}
	}
	return tuf.Kept{Root: first}, sum, nil
}

// succeeded is the JSON of `trust add` and `trust update`.
type succeeded struct {
	header
	rootShown
	Was     digest.Digest `json:"was,omitempty"`
	Changes []changeShown `json:"changes"`
}

// succeed puts another root in force. It is on record before it is, and so is a
// refusal.
func (w world) succeed(replace bool, find func(was inForce) (successor, error)) int {
	d := w.dirs()
	log, err := audit.Open(d.audit(), d.trust(), w.now())
	if err != nil {
		return w.fail("trust", err)
	}
	defer func() { _ = log.Close() }() // every record was synced when it was written
	var s succeeded
	err = holding(d.roots(), func() error {
		was, err := d.rootInForce()
		if err != nil && !replace {
			return err
		}
		next, err := find(was)
		if err != nil {
			return err
		}
		changes, err := follow(was, next, replace)
		if err != nil {
			return err
		}
		is := inForce{next.root, next.record, "file", next.record.Source}
		if next.record.Signed {
			is.by = "tuf"
		}
		s = succeeded{header{"ztlaunch.trust-change/v1", 0}, is.shown(w.now()), was.root.File(), shownChanges(changes, w.now())}
		if err := log.Append(audit.Record{Time: w.now(), Kind: audit.Trust, Actor: actor(), Verb: "trust", Trust: next.root.Digest(), Path: d.rootRecord(),
			Expected: string(was.root.File()), Found: string(next.record.Root),
			Parts: []audit.Part{{Role: "trusted root", Name: next.record.Source, Digest: next.record.Root}}}); err != nil {
			return err
		}
		return d.putRoot(next.record, was.record, next.files...)
	})
	if err != nil {
		rec := audit.Record{Time: w.now(), Kind: audit.Denial, Actor: actor(), Verb: "trust", Path: d.rootRecord()}
		if e, ok := reason.Of(err); ok {
			rec.Codes, rec.Expected, rec.Found, rec.Note = []reason.Code{e.Code}, e.Expected, found(e), e.What
		}
		return w.fail("trust", errors.Join(err, log.Append(rec)))
	}
	return w.done("trust", s, fmt.Sprintf("in force: %s of %s\n%s", s.Root, clean(s.Source), cmp.Or(changeLines(s.Changes), "  nothing changed in whom it believes\n")))
}

// follow is what the next root changes. It refuses one that takes back what is in
// force, unless its own repository vouches for it or the operator typed --replace.
func follow(was inForce, next successor, replace bool) ([]trust.Change, error) {
	after, err := next.root.Parts()
	if err != nil {
		return nil, err
	}
	var before []trust.Part
	if !was.root.Zero() { // unreadable, and to be replaced
		if before, err = was.root.Parts(); err != nil && !replace {
			return nil, err
		}
	}
	changes := trust.Diff(before, after)
	var back []string
	for _, c := range changes {
		if c.Rewinds() {
			back = append(back, string(c.Effect)+" "+string(c.Part.Role)+" "+c.Part.Name)
		}
	}
	if len(back) > 0 && !next.follows && !replace {
		shown := ""
		if !next.record.Signed {
			shown = "ztlaunch trust diff " + reason.Word(next.record.Source) + " shows it; "
		}
		return nil, &reason.Error{Code: reason.TrustRootRewound, What: "put " + next.record.Source + " in force", Expected: "a root that only adds to the one in force, or retires",
			Found: strings.Join(back, ", "), Next: shown + "--replace puts it in force all the same"}
	}
	return changes, nil
}
