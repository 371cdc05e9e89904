package main

import (
	"context"
	"io"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/report"
	"github.com/ztlaunch/ztlaunch/verify/steps"
)

// verifyVerb makes the decision that run would make, and runs nothing.
func verifyVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("verify", true)
	var t trustFlags
	var from fetchFlags
	var chain layoutFlags
	audited := fs.Bool("audit", false, "record each decision in the audit log")
	as := fs.String("as", "", "the name that the policy knows a folder or archive by")
	kind := fs.String("kind", "image", "image or server: by which rules an image is judged")
	t.declare(fs)
	from.declare(fs)
	chain.declare(fs)
	if err := w.parse(fs, "[flags] REF...", args); err != nil {
		return w.parsed("verify", err)
	}
	if fs.NArg() == 0 || (*as != "" && fs.NArg() > 1) || (*kind != "image" && *kind != "server") {
		return w.fail("verify", wrong("read the command", "one or more references; --as with one; --kind image or server", "ztlaunch verify REF"))
	}
	var log *audit.Log
	if *audited {
		var err error
		if log, err = audit.Open(w.dirs().audit(), w.dirs().trust(), w.now()); err != nil {
			return w.fail("verify", err)
		}
		defer func() { _ = log.Close() }() // every record was synced when it was written
	}
	files, err := chain.files()
	if err != nil {
		return w.fail("verify", err)
	}
	var all []report.Verdict
	for _, word := range fs.Args() {
		v, err := w.verdict(ctx, word, *as, *kind, &t, &from, files, log)
		if err != nil {
			v = report.Failed(word, err)
		}
		all = append(all, v)
	}
	exit := report.Exit(all...)
	if w.json {
		var raw []byte
		if raw, err = report.JSON(all...); err == nil {
			_, err = w.out.Write(raw)
		}
	} else {
		_, err = io.WriteString(w.err, report.Text(all...))
	}
	if err := outputError(err); err != nil {
		refusal(w.err, "verify", err)
		return reason.Worst(exit, status(err))
	}
	return exit
}

// verdict decides about one reference.
func (w world) verdict(ctx context.Context, word, as, kind string, t *trustFlags, from *fetchFlags, chain steps.Files, log *audit.Log) (report.Verdict, error) {
	ref, err := parseRef(word, as)
	if err != nil {
		return report.Verdict{}, err
	}
	if kind == "server" {
		ref = ref.As(artifact.MCP)
	}
	in, err := w.inputs(t, from, policy.Run, ref)
	if err != nil {
		return report.Verdict{}, err
	}
	in.Layout = chain
	var r verify.Report
	switch ref.Kind() {
	case artifact.Image, artifact.MCP:
		var done func()
		in.Fetch.Progress, done = progress()
		r, err = verify.Image(ctx, ref, in)
		done()
	case artifact.Model:
		r, _, err = verify.Model(ctx, ref, in)
	default:
		err = wrong("verify "+word, "an image, a model folder or a server image", "")
	}
	if err != nil {
		return report.Verdict{}, err
	}
	if log != nil {
		if err := log.Append(decisionRecord("verify", w.now(), ref, r, t.believed())); err != nil {
			return report.Verdict{}, err
		}
	}
	return report.Of(r.Decision, report.Origin{Local: r.Local, RootDate: in.Root.Date()}), nil
}
