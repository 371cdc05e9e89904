package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"

	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/policy/fixture"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// policyCheck reads policy files as every other verb would, and tells all that is
// wrong with them.
func policyCheck(w world, args []string) int {
	fs := newFlags("policy check", true)
	named := fs.String("policy", "", "one of them")
	if err := w.parse(fs, "[FILE...]   (default: the policy that run and verify find)", args); err != nil {
		return w.parsed("policy", err)
	}
	files, err := w.policyFiles(*named, fs.Args())
	if err != nil {
		return w.fail("policy", err)
	}
	type checked struct {
		File       string        `json:"file"`
		Digest     digest.Digest `json:"digest"`
		Identities []string      `json:"identities"`
		Unsafe     []string      `json:"unsafeRegex,omitempty"` // NAME.FIELD
		DenyFeed   *feedState    `json:"denyFeed,omitempty"`
	}
	var good []checked
	var bad []error
	var lines strings.Builder
	for _, file := range files {
		p, err := readPolicy(file)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		for _, e := range policy.Lint(p, w.now()) {
			bad = append(bad, e)
		}
		var names, unsafe []string
		for _, id := range p.Identities() {
			names = append(names, id.Name())
			for _, field := range id.Keyless().Unsafe() {
				unsafe = append(unsafe, id.Name()+"."+field)
			}
		}
		feed := w.feedNow(p)
		good = append(good, checked{file, p.Digest(), names, unsafe, feed})
		fmt.Fprintf(&lines, "%s: good, %s, identities %s%s\n", file, p.Digest(), strings.Join(names, ", "), feed)
		for _, where := range unsafe {
			fmt.Fprintf(&lines, "%s: unsafe: a regular expression decides about %s\n", file, where)
		}
	}
	if len(bad) > 0 {
		return w.fail("policy", errors.Join(bad...))
	}
	return w.done("policy", struct {
		header
		Files []checked `json:"files"`
	}{header{"ztlaunch.policy-check/v1", 0}, good}, lines.String())
}

// policyFiles are the files that are named, or the one that other verbs would find.
func (w world) policyFiles(named string, files []string) ([]string, error) {
	if named != "" {
		files = append([]string{named}, files...)
	}
	if len(files) > 0 {
		return files, nil
	}
	for _, file := range w.policies() {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			return []string{file}, nil
		}
	}
	_, err := (&trustFlags{}).find(w, nil)
	return nil, err
}

// policyFlag reads --policy, or the policy that other verbs would find.
func (w world) policyFlag(fs *pflag.FlagSet) func() (policy.Policy, error) {
	t := trustFlags{}
	fs.StringVar(&t.policy, "policy", "", "policy file (default: the one that run and verify find)")
	return func() (policy.Policy, error) { return t.find(w, nil) }
}

// policyExplain says in words what a policy asks for.
func policyExplain(w world, args []string) int {
	fs := newFlags("policy explain", true)
	read := w.policyFlag(fs)
	as := fs.String("as", "", "the name that the policy's rules match")
	if err := w.parse(fs, "[flags] PLACE|REF   (a place is as refusals name it: images[0], images[0].require[1].sbom; or images, identities.NAME, box)", args); err != nil {
		return w.parsed("policy", err)
	}
	if fs.NArg() != 1 {
		return w.fail("policy", wrong("read the command", "one place in the policy, or one reference", ""))
	}
	p, err := read()
	if err != nil {
		return w.fail("policy", err)
	}
	var all []policy.Explanation
	word := fs.Arg(0)
	if policy.IsPlace(word) {
		all, err = policy.Explain(p, word)
	} else {
		ref, bad := namedRef(word, *as)
		if bad != nil {
			return w.fail("policy", bad)
		}
		if all, err = policy.ExplainName(p, ref); err != nil {
			err = noWord(p, word, err)
		}
	}
	if err != nil {
		return w.fail("policy", err)
	}
	var lines strings.Builder
	for _, e := range all {
		lines.WriteString(e.Text())
	}
	return w.done("policy", struct {
		header
		Policy string               `json:"policy"`
		Says   []policy.Explanation `json:"says"`
	}{header{"ztlaunch.policy-explain/v1", 0}, p.Path(), all}, lines.String())
}

// noWord is err, about a word that no rule matches, or what the word was meant to be.
func noWord(p policy.Policy, word string, err error) error {
	if st, absent := os.Stat(word); absent == nil && st.Mode().IsRegular() {
		return &reason.Error{Code: reason.ReferenceUnclear, What: "explain " + word, Expected: "a place in the policy, or the name of an image", Found: "what may be the file " + word + " here, or an image",
			Next: "ztlaunch policy explain --policy " + reason.Word(word) + " images"}
	}
	if !strings.ContainsAny(word, "/:.@") {
		_, err = policy.Explain(p, word)
	}
	return err
}

// policySchema prints the schema of policy files.
func policySchema(w world, args []string) int {
	fs := newFlags("policy schema", true)
	if err := w.parse(fs, "[--json]", args); err != nil {
		return w.parsed("policy", err)
	}
	if fs.NArg() != 0 {
		return w.fail("policy", wrong("read the command", "no word behind it", ""))
	}
	w.json = false // it is JSON as it is
	return w.done("policy", nil, string(policy.Schema()))
}

// fixtureUsage shows what a fixture is.
const fixtureUsage = `[flags] DIR

Each NAME.yaml of DIR supposes an artifact and claims about it, and says how the
policy must decide:

  artifact: {name: registry.example/agents/coder}
  now: 2026-06-01
  claims:
    signature: {by: release, type: signature}
    tests: {by: {certificate: {issuer: https://accounts.example, san: dev@acme.example}},
            type: https://in-toto.io/attestation/test-result/v0.1, predicate: result.json}
  expect: allowed

and beside it one that differs from it:

  like: NAME
  without: [tests]
  expect: [attestation-absent]

Where a policy asks for more, more is supposed:

  artifact: {name: ..., labels: {org.opencontainers.image.version: 1.4.0}}
  claims:
    old: {by: release, type: signature, kept: legacy-tags}
    private: {by: {certificate: {authority: ca.pem, san: dev@acme.example}}, type: signature}
    logged: {by: release, type: signature, signedAt: 2026-05-01, logs: 2}
  layout: {by: [release], products: {image.json: manifest}}   # or a code: intoto-layout-absent
  denyFeed: {by: security, digests: [manifest]}               # or a code: deny-feed-absent

Every rule needs a fixture that it admits, and every demand one that it alone denies;
so does a deny feed.`

// policyTest holds a policy against the fixtures of a folder.
func policyTest(w world, args []string) int {
	fs := newFlags("policy test", true)
	read := w.policyFlag(fs)
	if err := w.parse(fs, fixtureUsage, args); err != nil {
		return w.parsed("policy", err)
	}
	if fs.NArg() != 1 {
		return w.fail("policy", wrong("read the command", "the folder of the fixtures", ""))
	}
	p, err := read()
	if err != nil {
		return w.fail("policy", err)
	}
	cases, err := readFixtures(p, fs.Arg(0))
	if err != nil {
		return w.fail("policy", err)
	}
	type result struct {
		Name     string      `json:"name"`
		Pass     bool        `json:"pass"`
		Code     reason.Code `json:"code,omitempty"`
		Expected string      `json:"expected"`
		Found    string      `json:"found"`
	}
	type gap struct {
		Where string      `json:"where"`
		Line  int         `json:"line"`
		Code  reason.Code `json:"code"`
		Lacks string      `json:"lacks"`
	}
	out := struct {
		header
		Policy string   `json:"policy"`
		Cases  []result `json:"cases"`
		Gaps   []gap    `json:"gaps"`
	}{header{"ztlaunch.policy-test/v1", 0}, p.Path(), nil, []gap{}}
	report := fixture.Run(p, cases)
	var lines strings.Builder
	for _, c := range report.Results {
		r := result{c.Name, c.Pass, "", c.Expected, c.Found}
		mark := "pass"
		if !c.Pass {
			r.Code, mark = reason.FixtureDiffers, "FAIL"
		}
		out.Cases = append(out.Cases, r)
		fmt.Fprintf(&lines, "%s  %s: %s\n", mark, clean(c.Name), c.Found)
	}
	for _, g := range report.Gaps {
		out.Gaps = append(out.Gaps, gap{g.Where, g.Line, reason.FixtureGap, g.Lacks})
	}
	failed := report.Errors(p.Path())
	if len(failed) > 0 {
		out.Exit = status(failed[0])
	}
	if printed := w.done("policy", out, lines.String()); printed != 0 {
		return printed
	}
	for _, err := range failed {
		refusal(w.err, "policy", err)
	}
	return out.Exit
}

// maxFixtures bounds a folder of fixtures, and maxFixture one file of it, in bytes.
const maxFixtures, maxFixture = 10_000, 16 << 20

// readFixtures reads every NAME.yaml of a folder.
func readFixtures(p policy.Policy, dir string) ([]fixture.Case, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, &reason.Error{Code: reason.FileUnreadable, What: "read the folder " + dir, Err: err}
	}
	var cases []fixture.Case
	var bad []error
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".yaml" || e.IsDir() {
			continue
		}
		file := filepath.Join(dir, e.Name())
		raw, err := readCapped(file, 1<<20)
		if err == nil {
			var c fixture.Case
			if c, err = fixture.Read(p, file, raw, func(name string) ([]byte, error) { return readCapped(name, maxFixture) }); err == nil {
				cases = append(cases, c)
			}
		}
		if err != nil {
			bad = append(bad, err)
		}
	}
	switch n := len(cases); {
	case len(bad) > 0:
		return nil, errors.Join(bad...)
	case n == 0 || n > maxFixtures:
		return nil, &reason.Error{Code: reason.FixtureAbsent, What: "read the fixtures of " + dir, Expected: fmt.Sprintf("1 to %d files NAME.yaml", maxFixtures),
			Found: fmt.Sprint(n), Next: "write one as ztlaunch policy test --help says"}
	}
	return cases, nil
}
