package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/report"
)

// reports are where the verdicts of a verb go, besides the text for people on
// standard error.
type reports struct {
	out   string // the format on standard output; "" for none
	files []*reportFile
	base  string // the folder that readers know as the project
}

// reportFile is one --report FMT=PATH, or the step summary that goes with github.
type reportFile struct {
	name   string // as it was asked for
	format string // "" for the step summary
	to     *result
	step   *os.File // the step summary, in place of to: what others wrote to it stays
	temp   string   // where it is written, beside its place
	err    error    // why it cannot be written
}

// reports opens what --report asks for. A target that cannot be written stops
// nothing: the verdict is wanted all the more.
func (w world) reports(words []string) (reports, error) {
	var r reports
	here, err := os.Getwd()
	if err != nil {
		return r, &reason.Error{Code: reason.FileUnreadable, What: "find the working folder", Err: err}
	}
	r.base = here
	if top, ok := w.env("GITHUB_WORKSPACE"); ok && filepath.IsAbs(top) {
		if rel, err := filepath.Rel(top, here); err == nil && filepath.IsLocal(rel) {
			r.base = filepath.Clean(top)
		}
	}
	paths := map[string]bool{}
	for _, word := range words {
		format, path, file := strings.Cut(word, "=")
		file = file && path != "-" // which is standard output
		abs, err := filepath.Abs(path)
		switch {
		case !slices.Contains(report.Formats(), format):
			return r, &reason.Error{Code: reason.UsageWrong, What: "read --report " + word, Expected: strings.Join(report.Formats(), ", "), Found: format, Next: "ztlaunch verify --report json"}
		case !file && r.out != "":
			return r, wrong("read --report "+word, "one report on standard output, which is "+r.out, "--report "+format+"=PATH")
		case !file:
			r.out = format
		case path == "" || err != nil || paths[abs]:
			return r, wrong("read --report "+word, "a path of its own for each report", "--report "+format+"=report."+format)
		default:
			paths[abs] = true
			r.files = append(r.files, &reportFile{name: "--report " + word, format: format})
		}
	}
	for _, f := range r.files {
		_, path, _ := strings.Cut(f.name, "=")
		f.to, err = openResult("--report", path)
		f.fail(err)
	}
	step, ok := w.env("GITHUB_STEP_SUMMARY")
	if ok && step != "" && slices.ContainsFunc(words, func(word string) bool { return word == "github" || strings.HasPrefix(word, "github=") }) {
		f := &reportFile{name: "GITHUB_STEP_SUMMARY=" + step}
		if f.step, err = os.OpenFile(step, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o644); err != nil {
			f.fail(err)
		}
		r.files = append(r.files, f)
	}
	return r, nil
}

// write writes every report, and is the exit status, with which each agrees: a report
// that cannot be written is one more verdict in the others. Files are whole or not
// there: they are put in their places when everything else is written.
func (r reports) write(w world, verb string, all ...report.Verdict) int {
	all = slices.Clone(all)
	for _, f := range r.files {
		if f.err != nil {
			all = append(all, report.Failed(f.name, f.err))
		}
	}
	all = r.stage(all)
	for _, f := range r.files {
		if f.direct() && f.err == nil {
			if f.fail(f.pour(r.base, all)); f.err != nil {
				all = r.stage(append(all, report.Failed(f.name, f.err)))
			}
		}
	}
	if r.out != "json" && r.out != "text" {
		_, _ = io.WriteString(w.err, report.Text(all...)) // nobody is left to tell
	}
	if r.out != "" {
		raw, err := report.View(r.out, r.base, all...)
		if err == nil {
			_, err = w.out.Write(raw)
		}
		if err := outputError(err); err != nil {
			refusal(w.err, verb, err)
			all = r.stage(append(all, report.Failed("standard output", err)))
		}
	}
	exit := report.Exit(all...)
	for _, f := range r.files {
		if f.direct() || f.err != nil {
			continue
		}
		if f.fail(f.to.folder.Rename(f.temp, f.to.name)); f.err != nil { // too late for the others to know
			refusal(w.err, verb, f.err)
			exit = reason.Worst(exit, status(f.err))
		}
	}
	return exit
}

// stage writes each report beside its place. One that cannot be written is a verdict
// more, so that those before are written again.
func (r reports) stage(all []report.Verdict) []report.Verdict {
	for i := 0; i < len(r.files); i++ {
		f := r.files[i]
		if f.direct() || f.err != nil {
			continue
		}
		if f.fail(f.stage(r.base, all)); f.err != nil {
			all, i = append(all, report.Failed(f.name, f.err)), -1
		}
	}
	return all
}

func (f *reportFile) stage(base string, all []report.Verdict) error {
	f.drop()
	raw, err := report.View(f.format, base, all...)
	if err != nil {
		return err
	}
	file, temp, err := f.to.create()
	if err != nil {
		return err
	}
	f.temp = temp
	_, err = file.Write(raw)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// direct says that a report has no beside: it is a pipe, a device or the step summary.
func (f *reportFile) direct() bool { return f.step != nil || f.to == nil || f.to.file != nil }

// pour writes a report where it stays.
func (f *reportFile) pour(base string, all []report.Verdict) error {
	if f.step != nil {
		st, err := f.step.Stat()
		if err != nil {
			return err
		}
		raw := []byte(report.Summary(report.MaxSummary-int(min(st.Size(), report.MaxSummary)), all...))
		if len(raw) == 0 {
			return &reason.Error{Code: reason.ReportUnwritable, What: "write the step summary", Found: "no room in it"}
		}
		_, err = f.step.Write(raw)
		return errors.Join(err, f.step.Close())
	}
	raw, err := report.View(f.format, base, all...)
	if err != nil {
		return err
	}
	_, err = f.to.file.Write(raw)
	return errors.Join(err, f.to.end())
}

// drop takes back what was staged.
func (f *reportFile) drop() {
	if f.temp != "" {
		_ = f.to.folder.Remove(f.temp) // a name that only we know
		f.temp = ""
	}
}

// fail notes why a report cannot be written, if there is an error.
func (f *reportFile) fail(err error) {
	if err == nil {
		return
	}
	f.drop()
	cause := &reason.Error{Code: reason.ReportUnwritable, What: "write " + f.name, Expected: "a file that can be written", Err: err}
	if e, ok := reason.Of(err); ok {
		cause.Found, cause.Err = e.Found, e.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		_, path, _ := strings.Cut(f.name, "=")
		cause.Next = "mkdir -p " + reason.Word(filepath.Dir(path))
	}
	f.err = cause
}
