// Corpus keeps what fuzzing found. For each Fuzz function it runs what lies in Go's
// fuzz cache, one input at a time under coverage, and puts those inputs into the
// package's testdata/fuzz that reach a block of the package which nothing kept so far
// reaches, smallest first. From then on every `go test` runs them, and a later
// fuzzing starts from them.
//
//	corpus [PACKAGE...]        all packages below ./ if none is named
//
// Inputs over 8 KiB are left out; what lies in testdata/fuzz already stays.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const maxInput = 8 << 10 // bytes

func main() {
	if err := keep(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

func keep(packages []string) error {
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	out, err := exec.Command("go", append([]string{"list", "-f", "{{.ImportPath}}\t{{.Dir}}"}, packages...)...).Output()
	if err != nil {
		return err
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		targets, err := targetsOf(dir)
		if err != nil {
			return err
		}
		for _, t := range targets {
			if err := (target{path, dir, t}).keep(filepath.Join(strings.TrimSpace(string(cache)), "fuzz", path, t)); err != nil {
				return fmt.Errorf("%s %s: %w", path, t, err)
			}
		}
	}
	return nil
}

var declared = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

func targetsOf(dir string) (all []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for _, m := range declared.FindAllSubmatch(raw, -1) {
			all = append(all, string(m[1]))
		}
	}
	return all, err
}

type target struct{ path, dir, name string }

type input struct {
	file string
	size int64
}

// keep runs the inputs in a folder of the package's own files, where only one at a
// time is in testdata/fuzz.
func (t target) keep(cached string) error {
	entries, err := os.ReadDir(cached)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "corpus-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.CopyFS(filepath.Join(tmp, "testdata"), os.DirFS(filepath.Join(t.dir, "testdata"))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	binary := filepath.Join(tmp, "test")
	build := exec.Command("go", "test", "-c", "-cover", "-covermode", "set", "-coverpkg", t.path, "-o", binary, t.path)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	kept := filepath.Join(t.dir, "testdata", "fuzz", t.name)
	trial := filepath.Join(tmp, "testdata", "fuzz", t.name)
	run := func(pattern string) ([]string, error) {
		profile := filepath.Join(tmp, "profile")
		c := exec.Command(binary, "-test.run", pattern, "-test.coverprofile", profile)
		c.Dir = tmp
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		return reached(profile)
	}
	seen := map[string]bool{}
	blocks, err := run("^" + t.name + "$") // its seeds, and what is kept already
	if err != nil {
		return err
	}
	for _, b := range blocks {
		seen[b] = true
	}
	if err := errors.Join(os.RemoveAll(trial), os.MkdirAll(trial, 0o755)); err != nil {
		return err
	}
	var inputs []input
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Size() <= maxInput {
			inputs = append(inputs, input{e.Name(), info.Size()})
		}
	}
	slices.SortFunc(inputs, func(a, b input) int { return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.file, b.file)) })
	added := 0
	for _, in := range inputs {
		raw, err := os.ReadFile(filepath.Join(cached, in.file))
		if err != nil {
			return err
		}
		at := filepath.Join(trial, in.file)
		if err := os.WriteFile(at, raw, 0o644); err != nil {
			return err
		}
		blocks, err := run("^" + t.name + "$/^" + in.file + "$")
		if err = errors.Join(err, os.Remove(at)); err != nil {
			return fmt.Errorf("%s: %w", in.file, err)
		}
		fresh := false
		for _, b := range blocks {
			fresh = fresh || !seen[b]
			seen[b] = true
		}
		if !fresh {
			continue
		}
		added++
		if err := errors.Join(os.MkdirAll(kept, 0o755), os.WriteFile(filepath.Join(kept, in.file), raw, 0o644)); err != nil {
			return err
		}
	}
	fmt.Printf("%s %s: %d of %d kept\n", t.path, t.name, added, len(inputs))
	return nil
}

// reached are the blocks of a coverage profile that were run.
func reached(profile string) (all []string, err error) {
	raw, err := os.ReadFile(profile)
	if err != nil {
		return nil, err
	}
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		if block, ran := strings.CutSuffix(s.Text(), " 1"); ran {
			all = append(all, block)
		}
	}
	return all, nil
}
