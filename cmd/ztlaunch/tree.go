package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// attached is one line of `tree`: what an envelope says about itself. Nothing
// of it is proved.
type attached struct {
	fetch.Attachment
	Predicate string     `json:"predicate,omitempty"`
	Claims    string     `json:"claimsSigner,omitempty"`
	Caller    string     `json:"claimsCaller,omitempty"` // the workflow that called the one that signed
	LoggedAt  *time.Time `json:"claimsTime,omitempty"`
	Malformed string     `json:"malformed,omitempty"`
	Unsigned  bool       `json:"unsigned,omitempty"` // of a kind that nobody signs
}

// listing is the JSON of `tree`.
type listing struct {
	header
	Name     string        `json:"name"`
	Root     digest.Digest `json:"root"`
	Manifest digest.Digest `json:"manifest"`
	Proved   bool          `json:"proved"`  // always false: tree trusts nothing
	Adopted  bool          `json:"adopted"` // read from the store; the registry was not asked
	Attached []attached    `json:"attached"`
	Problems []failure     `json:"problems,omitempty"`
}

// treeVerb lists what is attached to an image and where it was found.
func treeVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("tree", true)
	var from fetchFlags
	from.declare(fs)
	if err := w.parse(fs, "[flags] REF", args); err != nil {
		return w.parsed("tree", err)
	}
	if fs.NArg() != 1 {
		return w.fail("tree", wrong("read the command", "one reference", ""))
	}
	l, err := w.list(ctx, fs.Arg(0), &from)
	exit := status(err)
	if err == nil {
		for _, p := range l.Problems {
			exit = reason.Worst(exit, p.Exit)
		}
	}
	if err != nil {
		return w.fail("tree", err)
	}
	l.Exit = exit
	return reason.Worst(exit, w.done("tree", l, l.text()))
}

func (w world) list(ctx context.Context, word string, from *fetchFlags) (listing, error) {
	ref, err := parseRef(word, "")
	if err != nil {
		return listing{}, err
	}
	o, err := from.options(w)
	if err != nil {
		return listing{}, err
	}
	found, adopted, err := discover(ctx, ref, o)
	if err != nil {
		return listing{}, err
	}
	l := listing{Adopted: adopted, header: header{"ztlaunch.tree/v1", 0}, Name: ref.Name(), Root: found.Root.Digest, Manifest: found.Manifest.Digest,
		Attached: []attached{}}
	for _, a := range found.Attachments {
		l.Attached = append(l.Attached, describe(a))
	}
	for _, p := range found.Problems {
		l.Problems = append(l.Problems, asFailure(p.Err, p.Err.Code.Class().Exit()))
	}
	return l, nil
}

// discover finds what is attached now. What was adopted lies in the store: nobody is
// asked about that, unless by --pull always.
func discover(ctx context.Context, ref artifact.Reference, o fetch.Options) (found fetch.Result, adopted bool, err error) {
	if o.Pull != fetch.Missing {
		found, err = fetch.Discover(ctx, ref, o)
		return found, false, err
	}
	o.Pull = fetch.Never
	stored := func(a fetch.Attachment) bool { return a.Where == fetch.Stored }
	if found, err := fetch.Discover(ctx, ref, o); err == nil && slices.ContainsFunc(found.Attachments, stored) {
		return found, true, nil
	}
	o.Pull = fetch.Always
	found, err = fetch.Discover(ctx, ref, o)
	return found, false, err
}

func describe(a fetch.Attachment) attached {
	line := attached{Attachment: a}
	if a.Raw == nil {
		line.Unsigned = a.Where == fetch.InIndex || a.ArtifactType == "cosign.sbom"
		return line
	}
	e, err := evidence.Parse(a.Raw)
	if err != nil {
		line.Malformed = clean(err.Error())
		return line
	}
	p := e.Preview()
	line.Predicate = p.PredicateType
	line.Claims, line.Caller = p.Signer.SAN, p.Signer.Caller()
	switch {
	case line.Claims == "" && p.KeyHint == "":
		line.Claims = "a key that it does not name"
	case line.Claims == "":
		line.Claims = "key " + trust.Spell(p.KeyHint)
	}
	if !p.LoggedAt.IsZero() {
		line.LoggedAt = &p.LoggedAt
	}
	return line
}

func (l listing) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s@%s\n", l.Name, l.Root)
	if l.Root != l.Manifest {
		fmt.Fprintf(&b, "an index; what would run here is its manifest %s\n", l.Manifest)
	}
	fmt.Fprintln(&b, "nothing below is proved")
	if l.Adopted {
		fmt.Fprintln(&b, "adopted: read from the store; --pull always asks the registry")
	}
	for _, a := range l.Attached {
		what := a.Predicate
		if a.Malformed != "" {
			what = "unreadable: " + a.Malformed
		}
		if what == "" {
			what = a.MediaType
		}
		said := a.Claims
		switch {
		case a.Unsigned:
			said = "nobody: it is not signed"
		case a.Raw == nil:
			said = "nothing that is read here"
		}
		fmt.Fprintf(&b, "  %-14s %s\n    %-12s %s\n    %-12s %s\n", a.Where, clean(what), "on", a.Subject, "says", clean(said))
		if a.Caller != "" {
			fmt.Fprintf(&b, "    %-12s %s\n", "called by", clean(a.Caller))
		}
		if a.From != "" {
			fmt.Fprintf(&b, "    %-12s %s\n", "at", clean(a.From))
		}
	}
	for _, p := range l.Problems {
		fmt.Fprintf(&b, "  incomplete     %s: %s\n", p.Code, p.What)
	}
	if len(l.Attached) == 0 && len(l.Problems) == 0 {
		fmt.Fprintln(&b, "  nothing is attached")
	}
	return b.String()
}
