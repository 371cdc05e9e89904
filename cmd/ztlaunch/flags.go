package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// newFlags starts a verb's flags. Those of run end at the first word that is no
// flag, as docker's do; every other verb has --json.
func newFlags(verb string, interspersed bool) *pflag.FlagSet {
	fs := pflag.NewFlagSet(verb, pflag.ContinueOnError)
	fs.SetInterspersed(interspersed)
	fs.SortFlags = false
	fs.SetOutput(nil)
	fs.Usage = func() {}
	if interspersed {
		fs.Bool("json", false, "print JSON, also when it fails")
	}
	return fs
}

// once is a flag that is given at most once: of two answers to whom to believe, none
// is left out in silence.
type once struct{ text *string }

func (o once) Type() string { return "string" }

func (o once) String() string {
	if o.text == nil {
		return ""
	}
	return *o.text
}

// Set implements pflag.Value.
func (o once) Set(s string) error {
	if *o.text != "" {
		return fmt.Errorf("%s was given before", *o.text)
	}
	*o.text = s
	return nil
}

// errHelp says that the verb's help was asked for and printed.
var errHelp = pflag.ErrHelp

// parse reads a verb's flags. An unknown flag names the nearest known one. From
// here on refusals are JSON too, if that was asked for.
func (w *world) parse(fs *pflag.FlagSet, usage string, args []string) error {
	err := fs.Parse(args)
	if known := fs.Lookup("json"); known != nil {
		w.json = known.Value.String() == "true" || err != nil && slices.Contains(args, "--json")
	}
	if err != nil && fs.Lookup("report") != nil { // JSON was asked for on standard output
		i := slices.Index(args, "--report")
		w.json = w.json || slices.Contains(args, "--report=json") || i >= 0 && i+1 < len(args) && args[i+1] == "json"
	}
	var unknown *pflag.NotExistError
	var bare *pflag.ValueRequiredError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprintf(w.out, "usage: ztlaunch %s %s\n\n%s", fs.Name(), usage, fs.FlagUsages())
		return errHelp
	case errors.As(err, &unknown):
		var known []string
		fs.VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
		asked := "-" + unknown.GetSpecifiedName()
		if len(unknown.GetSpecifiedName()) > 1 {
			asked = "-" + asked
		}
		next := cmp.Or(nearest(asked, known), "ztlaunch "+fs.Name()+" --help")
		if asked == "--root" { // of no verb's
			dir := "DIR"
			for i, word := range args {
				if value, joined := strings.CutPrefix(word, "--root="); joined {
					dir = reason.Word(value)
				} else if word == "--root" && i+1 < len(args) {
					dir = reason.Word(args[i+1])
				}
			}
			next = "ztlaunch --root " + dir + " " + fs.Name()
		}
		return &reason.Error{Code: reason.FlagUnknown, What: "read the flag " + asked,
			Expected: "a flag of ztlaunch " + fs.Name(), Found: "no such flag", Next: next}
	case errors.As(err, &bare):
		flag := "-" + bare.GetSpecifiedName()
		if len(bare.GetSpecifiedName()) > 1 {
			flag = "-" + flag
		}
		return &reason.Error{Code: reason.UsageWrong, What: "read the flags", Expected: "a value behind " + flag, Found: "none", Next: flag + " VALUE"}
	}
	return &reason.Error{Code: reason.UsageWrong, What: "read the flags", Expected: "usage: ztlaunch " + fs.Name() + " " + usage,
		Found: err.Error(), Next: "ztlaunch " + fs.Name() + " --help"}
}

// environment reads -e and --env-file as docker does: a bare NAME is taken from
// the caller's environment, and stays absent where the caller has none.
func (w world) environment(files, flags []string) ([]string, error) {
	var env []string
	add := func(word, where, bad string) error {
		name, _, set := strings.Cut(word, "=")
		if name == "" || strings.ContainsAny(name, bad) || strings.ContainsRune(word, 0) {
			return wrong("read "+where, "NAME or NAME=VALUE, found "+strconv.Quote(word), "")
		}
		if !set {
			v, ok := w.env(name)
			if !ok {
				return nil
			}
			word = name + "=" + v
		}
		env = append(env, word)
		return nil
	}
	for _, file := range files {
		raw, err := readCapped(file, 1<<20)
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(strings.TrimPrefix(string(raw), "\ufeff"), "\n") {
			line = strings.TrimSuffix(line, "\r")
			line = strings.TrimLeft(line, " \t")
			if line == "" || line[0] == '#' {
				continue
			}
			if err := add(line, fmt.Sprintf("%s line %d", file, i+1), " \t"); err != nil {
				return nil, err
			}
		}
	}
	for _, word := range flags {
		if err := add(word, "-e "+word, ""); err != nil {
			return nil, err
		}
	}
	return env, nil
}

// readCapped reads a small file that the operator named.
func readCapped(name string, limit int64) ([]byte, error) { return readOpened(name, limit, os.Open) }

// readPlain is readCapped for a file that nobody named: what lies in its place may be
// a FIFO that nobody writes into, or a link to what is not for those who see our output.
func readPlain(name string, limit int64) ([]byte, error) {
	return readOpened(name, limit, func(name string) (*os.File, error) { return file.Plain(name, os.O_RDONLY) })
}

func readOpened(name string, limit int64, open func(string) (*os.File, error)) ([]byte, error) {
	unreadable := func(found string, err error) error {
		return &reason.Error{Code: reason.FileUnreadable, What: "read " + name,
			Expected: fmt.Sprintf("a readable file of at most %d bytes", limit), Found: found, Err: err}
	}
	f, err := open(name)
	if err != nil {
		return nil, unreadable("", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, unreadable("", err)
	case int64(len(raw)) > limit:
		return nil, unreadable("more", nil)
	}
	return raw, nil
}

// byteSize reads docker's sizes: a number with an optional b, k, m, g or t, each
// 1024 of the one before, and optional "ib" or "b" after it.
func byteSize(s string) (int64, error) {
	digits := strings.TrimRight(strings.ToLower(s), "ib")
	unit := int64(1)
	if i := slices.Index([]string{"k", "m", "g", "t"}, digits[max(0, len(digits)-1):]); i >= 0 {
		unit = 1 << (10 * (i + 1))
		digits = digits[:len(digits)-1]
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || n*float64(unit) > 1<<60 {
		return 0, wrong("read the size "+strconv.Quote(s), "a number with b, k, m, g or t, for example 512m", "")
	}
	return int64(n * float64(unit)), nil
}
