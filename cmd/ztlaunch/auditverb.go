package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// auditVerb shows and verifies the log.
func auditVerb(_ context.Context, w world, args []string) int {
	fs := newFlags("audit", true)
	if err := w.parse(fs, "show | verify [--json]   (show --json prints one JSON object a line)", args); err != nil {
		return w.parsed("audit", err)
	}
	d := w.dirs()
	switch strings.Join(fs.Args(), " ") {
	case "show":
		return w.showAudit(d)
	case "verify":
		return w.verifyAudit(d)
	}
	return w.fail("audit", strange("audit", fs.Args(), "show", "verify"))
}

func (w world) showAudit(d dirs) int {
	for e, err := range audit.Read(d.audit()) {
		if err != nil {
			return w.fail("audit", err)
		}
		if w.json {
			_, err = fmt.Fprintf(w.out, "{\"seq\":%d,\"time\":%q,\"kind\":%q,\"body\":%s}\n", e.Seq,
				e.Record.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Record.Kind, e.Raw)
		} else {
			_, err = fmt.Fprintf(w.out, "%6d %s %-9s %s\n", e.Seq, e.Record.Time.UTC().Format("2006-01-02 15:04:05"), e.Record.Kind, summary(e.Record))
		}
		if err := outputError(err); err != nil {
			w.json = false // nobody reads it
			return w.fail("audit", err)
		}
	}
	return 0
}

// summary is one record in one line.
func summary(r audit.Record) string {
	var words []string
	if r.Task != "" {
		words = append(words, r.Task[:min(12, len(r.Task))])
	}
	for _, p := range r.Parts {
		word := p.Role + " " + p.Name
		if p.Digest != "" {
			word += "@" + string(p.Digest)
		}
		words = append(words, word)
	}
	for _, c := range r.Codes {
		words = append(words, string(c))
	}
	if r.Cause != "" {
		words = append(words, r.Cause)
	}
	if r.Kind == audit.Exit {
		words = append(words, fmt.Sprintf("status %d", r.Status))
	}
	return clean(strings.Join(words, "  "))
}

func (w world) verifyAudit(d dirs) int {
	r, err := audit.Verify(d.audit(), d.trust())
	if err != nil {
		return w.fail("audit", err)
	}
	exit := 0
	var problems []failure
	for _, p := range r.Problems {
		exit = reason.Worst(exit, p.Code.Class().Exit())
		problems = append(problems, asFailure(p, p.Code.Class().Exit()))
	}
	if exit == 0 && !r.OK() {
		exit = 1
	}
	if !w.json {
		for _, p := range r.Problems {
			refusal(w.err, "audit", p)
		}
	}
	return reason.Worst(exit, w.done("audit", struct {
		header
		Records  int       `json:"records"`
		Intact   bool      `json:"intact"`
		Complete bool      `json:"complete"`
		Last     string    `json:"last,omitempty"`
		Head     any       `json:"head"`
		Problems []failure `json:"problems,omitempty"`
	}{header{"ztlaunch.audit/v1", exit}, r.Records, r.Intact, r.Complete, r.Last, r.Head, problems},
		fmt.Sprintf("%d records, intact %t, complete %t\n", r.Records, r.Intact, r.Complete)))
}
