// Ztlaunch-sbom writes a software bill of materials of a root file system that lies
// on this machine: every regular file with its SHA-1 and SHA-256 (SPDX asks for the
// first), every package that syft's catalogers find, and which package owns which
// file. It is a program of its own because linking syft would cost every start of
// ztlaunch 90 ms.
//
//	ztlaunch-sbom [--format spdx-json|cyclonedx-json] [--name N] [--platform OS/ARCH]
//	              [--created RFC3339] [--exclude PATH]... SOURCE
//
// SOURCE is oci-layout:DIR[@DIGEST], oci-archive:FILE, docker-archive:FILE or
// dir:DIR; nothing else is tried. Of a dir:, each --exclude leaves out one path below
// it, and what is below that: it is a path, and no pattern. The document goes to stdout, whole or not at all.
//
// The same source and time give the same bytes: the time is --created, else
// SOURCE_DATE_EPOCH, else now; names and identifiers follow from the content. The
// environment is cleared before anything is read, so that no value of it can reach
// the document, and no code here opens a socket.
//
// A blob or layer that does not hash to its digest, and a file that could not be
// hashed, are errors. A package database that could not be read is said on stderr and
// in the document's comment: its files are listed all the same. It judges nothing
// else: whether the bytes are the right ones was decided before.
//
// It exits with 0, with 2 for words it does not understand, 3 for a source that it
// cannot read or that is not what it says, and 5 for a fault of its own.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// version is set by the linker.
var version = "devel"

const (
	exitUsage    = 2
	exitSource   = 3
	exitInternal = 5
)

func main() { os.Exit(process()) }

// process is run with what belongs to a process: its environment, its signals, and
// one temporary folder for all that readers and catalogers put aside.
func process() (code int) {
	epoch, parent := os.Getenv("SOURCE_DATE_EPOCH"), os.TempDir()
	os.Clearenv()
	temp, err := os.MkdirTemp(parent, "ztlaunch-sbom-")
	if err == nil {
		err = os.Setenv("TMPDIR", temp)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ztlaunch-sbom:", err)
		return exitInternal
	}
	defer func() {
		if err := os.RemoveAll(temp); err != nil {
			fmt.Fprintln(os.Stderr, "ztlaunch-sbom:", err)
			code = max(code, exitInternal)
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], epoch, time.Now(), os.Stdout, os.Stderr)
}

// usage is an error in the words of the command line.
type usage struct{ error }

// run is main without the process. A panic in a cataloger, on a file made for it, is
// an internal error and leaves no document behind.
func run(ctx context.Context, args []string, epoch string, now time.Time, out, errs io.Writer) (code int) {
	defer func() {
		if fault := recover(); fault != nil {
			fmt.Fprintf(errs, "ztlaunch-sbom: internal error: %v\n%s", fault, debug.Stack())
			code = exitInternal
		}
	}()
	o, err := parse(args, epoch, now)
	if errors.Is(err, pflag.ErrHelp) {
		if _, err := io.WriteString(out, help); err != nil {
			return exitSource
		}
		return 0
	}
	if err != nil {
		fmt.Fprintf(errs, "ztlaunch-sbom: %v\n%s", err, help)
		return exitUsage
	}
	var document bytes.Buffer
	warnings, err := describe(ctx, o, &document)
	for _, w := range warnings {
		fmt.Fprintln(errs, "ztlaunch-sbom:", w)
	}
	if err == nil {
		_, err = out.Write(document.Bytes())
	}
	if err != nil {
		fmt.Fprintln(errs, "ztlaunch-sbom:", err)
		return exitSource
	}
	return 0
}

const help = `usage: ztlaunch-sbom [--format spdx-json|cyclonedx-json] [--name N] [--platform OS/ARCH] [--created RFC3339] [--exclude PATH]... SOURCE
SOURCE: oci-layout:DIR[@DIGEST] oci-archive:FILE docker-archive:FILE dir:DIR
`

// options are the parsed command line.
type options struct {
	format   string
	name     string
	created  time.Time
	platform string
	exclude  []string
	source   source
}

func parse(args []string, epoch string, now time.Time) (options, error) {
	f := pflag.NewFlagSet("ztlaunch-sbom", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	format := f.String("format", "spdx-json", "spdx-json or cyclonedx-json")
	name := f.String("name", "", "name of what is described")
	platform := f.String("platform", "", "which image of an index")
	created := f.String("created", "", "time of the document")
	exclude := f.StringArray("exclude", nil, "a path below a dir: that is left out")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	if f.NArg() != 1 {
		return options{}, usage{fmt.Errorf("want one source, found %d", f.NArg())}
	}
	o := options{format: *format, name: *name, platform: *platform, exclude: *exclude, created: now.UTC().Truncate(time.Second)}
	if o.format != "spdx-json" && o.format != "cyclonedx-json" {
		return options{}, usage{fmt.Errorf("unknown format %q", o.format)}
	}
	switch {
	case *created != "":
		t, err := time.Parse(time.RFC3339, *created)
		if err != nil {
			return options{}, usage{fmt.Errorf("--created: %w", err)}
		}
		o.created = t.UTC().Truncate(time.Second)
	case epoch != "":
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return options{}, usage{fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)}
		}
		o.created = time.Unix(seconds, 0).UTC()
	}
	var err error
	o.source, err = parseSource(f.Arg(0))
	if err == nil && len(o.exclude) > 0 && o.source.scheme != "dir" {
		return options{}, usage{fmt.Errorf("--exclude: for dir: only, found %s:", o.source.scheme)}
	}
	if o.name == "" {
		o.name = o.source.base()
	}
	return o, err
}
