//go:build linux

package main

import (
	"bytes"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/policy"
)

// TestReadme reads every ztlaunch command of the README, in fenced blocks and in
// running text, with the real flags of its verb.
func TestReadme(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	makefile := string(rules)
	var lines []string
	fenced := false
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		if fenced {
			lines = append(lines, strings.TrimPrefix(line, "$ "))
			continue
		}
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
			lines = append(lines, code[1])
		}
	}
	seen := map[string]bool{}
	flags := new(runFlags).flags()
	for _, line := range lines {
		words := shellWords(line)
		switch {
		case len(words) > 1 && words[0] == "make":
			if !strings.Contains(makefile, "\n"+words[1]+":") {
				t.Errorf("%s: the Makefile has no such target", line)
			}
			continue
		case len(words) > 3 && words[0] == "-i": // docker's flags, in a row
			for _, w := range words {
				if docker := strings.TrimLeft(w, "-"); len(docker) == 1 && flags.ShorthandLookup(docker) == nil || len(docker) > 1 && flags.Lookup(docker) == nil {
					t.Errorf("run has no %s", w)
				}
			}
			seen["docker"] = true
			continue
		case len(words) < 2 || words[0] != "ztlaunch":
			continue
		}
		seen[words[1]] = true
		checkCommand(t, line, words[1:])
	}
	for _, verb := range []string{"run", "verify", "policy", "adopt", "key", "sign", "attest", "tree", "audit", "doctor", "version", "docker"} {
		if !seen[verb] {
			t.Errorf("the README shows no ztlaunch %s", verb)
		}
	}
}

// TestReadmeFiles reads the README's policy and task as the program does.
func TestReadmeFiles(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]int{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(raw), -1) {
		file := filepath.Join(t.TempDir(), "file.yaml")
		if err := os.WriteFile(file, []byte(m[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		kind := "policy"
		if strings.HasPrefix(m[1], "image:") {
			kind = "task"
			_, err = readTask(file)
		} else {
			var p policy.Policy
			if p, err = readPolicy(file); err == nil {
				for _, e := range policy.Lint(p, time.Now()) {
					t.Error(e)
				}
			}
		}
		read[kind]++
		if err != nil {
			t.Errorf("the README's %s: %v\n%s", kind, err, m[1])
		}
	}
	if read["policy"] == 0 || read["task"] == 0 {
		t.Errorf("read %v", read)
	}
}

// prose are the texts that hold the program's name and no command.
var prose = []string{"ztlaunch decides whether", "which ztlaunch this is", "install ztlaunch with make", "than ztlaunch reads", "of ztlaunch names",
	"where ztlaunch is installed", "that ztlaunch knows", "ztlaunch met a state", "ztlaunch trust root v1\n", "ztlaunch tree 1 ", "ztlaunch seal %s",
	"start of ztlaunch", "run a ztlaunch built", "run ztlaunch on the host", "install ztlaunch with its helpers", "install ztlaunch and its helpers", "ztlaunch brings its own"}

// TestHints reads the commands that refusals and reports propose: each is of a verb
// that there is.
func TestHints(t *testing.T) {
	command := regexp.MustCompile(`\bztlaunch ([a-z]+)\b`)
	n := 0
	for _, root := range []string{"cmd", "verify", "launch", "sbom"} {
		for _, file := range sources(t, filepath.Join("..", "..", root)) {
			ast.Inspect(parseGo(t, file), func(node ast.Node) bool {
				lit, ok := node.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range command.FindAllStringSubmatch(text, -1) {
					n++
					if m[1] != "help" && !slices.ContainsFunc(prose, func(p string) bool { return strings.Contains(text, p) }) && !slices.ContainsFunc(verbs(), func(v verb) bool { return v.name == m[1] }) {
						t.Errorf("%s proposes %q, and there is no such verb", file, m[0])
					}
				}
				return true
			})
		}
	}
	if n < 40 {
		t.Errorf("only %d commands are proposed", n)
	}
}

// checkCommand has the verb itself read the words, up to a --help behind the
// last flag: what it does not know it refuses before that.
func checkCommand(t *testing.T, line string, words []string) {
	t.Helper()
	at := len(words)
	if words[0] == "run" && len(words) > 1 && !slices.Contains(words, "--task") {
		at-- // flags end at REF, which is last
	}
	if words[0] == "help" {
		return
	}
	var out, errs bytes.Buffer
	w := world{out: &out, err: &errs, env: func(string) (string, bool) { return "", false }, now: time.Now, root: t.TempDir()}
	if status := dispatch(w, slices.Insert(slices.Clone(words), at, "--help")); status != 0 || !strings.HasPrefix(out.String(), "usage: ztlaunch "+words[0]) {
		t.Errorf("%s: status %d, %s", line, status, errs.String())
	}
}

// shellWords splits a command of the README: no quotes within words, and what
// follows |, > or a # is not ours.
func shellWords(line string) []string {
	var words []string
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		if m[2] == ">" || m[2] == "|" || strings.HasPrefix(m[2], "#") {
			break
		}
		words = append(words, m[1]+m[2])
	}
	return words
}
