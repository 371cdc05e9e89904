package steps

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/in-toto/in-toto-golang/in_toto"
	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// maxDepth is how deep layouts nest, the outermost counted.
const maxDepth = 5

// Check proves that the steps of a layout were done as it prescribes, at the time
// now. keys are whom the caller trusts to sign the layout. Every refusal is a
// *reason.Error whose code begins with intoto or json, or is key-outside-window.
func Check(f Files, keys []trust.Key, now time.Time) (Outcome, error) {
	d, err := parse("the in-toto layout", f.Layout, reason.InTotoLayoutMalformed)
	if err != nil {
		return Outcome{}, err
	}
	l, ok := d.payload.(in_toto.Layout)
	if !ok {
		return Outcome{}, &reason.Error{Code: reason.InTotoLayoutMalformed, What: "parse the in-toto layout", Expected: "_type layout", Found: "_type link"}
	}
	signers, err := d.signers(keys, now)
	if err != nil {
		return Outcome{}, err
	}
	c := check{links: f.Links, now: now}
	whole, err := c.layout(l, place{depth: 1})
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{layout: d.sum, signers: signers, steps: c.steps, products: map[string]digest.Digest{}, until: c.until}
	for name, sums := range whole.Products {
		o.products[name] = digest.NewDigestFromEncoded(digest.SHA256, sums["sha256"])
	}
	return o, nil
}

// signers are the trusted keys that signed, by what they proved alone.
func (d document) signers(keys []trust.Key, now time.Time) (ids []string, err error) {
	refuse := func(code reason.Code, expected, found, next string) error {
		return &reason.Error{Code: code, What: "check the in-toto layout", Expected: expected, Found: found, Next: next}
	}
	if len(d.signatures) == 0 {
		return nil, refuse(reason.InTotoLayoutUnsigned, "a signature", "none", "sign the layout with in-toto, by a key that the policy names")
	}
	var late error
	for _, k := range keys {
		switch {
		case !d.signedBy(k):
		case !k.Valid(now):
			late = refuse(reason.KeyOutsideWindow, "a key that may sign at "+stamp(now), k.ID(), "sign the layout anew, by a key that may still sign")
		default:
			ids = append(ids, k.ID())
		}
	}
	switch {
	case ids != nil:
		slices.Sort(ids)
		return slices.Compact(ids), nil
	case late != nil:
		return nil, late
	}
	var by []string
	for _, s := range d.signatures {
		by = append(by, s.KeyID)
	}
	return nil, refuse(reason.InTotoLayoutWrongSigner, fmt.Sprintf("a signature by one of %d keys of the policy", len(keys)), "in-toto key ids "+some(by),
		"name the layout's signer in the policy, or have the layout signed by one whom it names")
}

func (d document) signedBy(k trust.Key) bool {
	m := material(k)
	for _, s := range d.signatures {
		m.KeyID = s.KeyID
		if in_toto.VerifyLayoutSignatures(d, map[string]in_toto.Key{m.KeyID: m}) == nil {
			return true
		}
	}
	return false
}

// material is a key in in-toto's terms, made of the key itself; the zero Key for
// one that in-toto does not have, which proves nothing.
func material(k trust.Key) in_toto.Key {
	var m in_toto.Key
	if err := m.LoadKeyReaderDefaults(bytes.NewReader(k.PEM())); err != nil {
		return in_toto.Key{}
	}
	return m
}

// check is one run of Check.
type check struct {
	links map[string][]byte
	now   time.Time
	steps []Step
	until time.Time
}

// place is where a layout stands: the outermost at depth 1, without names.
type place struct {
	folder string // of its links: "build.0123abcd/"
	path   string // of its steps: "build/"
	depth  int
}

// layout does one layout whose signature is proved, and sums its steps up.
func (c *check) layout(l in_toto.Layout, at place) (in_toto.Link, error) {
	none := in_toto.Link{}
	expires, err := time.Parse(in_toto.ISO8601DateSchema, l.Expires)
	if err != nil || c.now.IsZero() || !c.now.Before(expires) {
		return none, &reason.Error{Code: reason.InTotoLayoutExpired, What: at.what("layout", ""), Expected: "before " + l.Expires, Found: stamp(c.now),
			Next: "ask whoever signs the layout for a newer one"}
	}
	if err := at.demands(l); err != nil {
		return none, err
	}
	if c.until.IsZero() || expires.Before(c.until) {
		c.until = expires
	}
	known := l
	known.Keys = map[string]in_toto.Key{}
	for id, k := range l.Keys {
		key, err := functionary(k)
		if err != nil { // parse has seen to it
			return none, &reason.Error{Code: reason.InTotoLayoutMalformed, What: at.what("layout", ""), Err: err}
		}
		m := material(key)
		m.KeyID = id
		known.Keys[id] = m
	}
	done := map[string]map[string]in_toto.Metadata{}
	for _, s := range known.Steps {
		if done[s.Name], err = c.step(known, s, at); err != nil {
			return none, err
		}
	}
	reduced, err := in_toto.ReduceStepsMetadata(known, done)
	if err != nil {
		return none, &reason.Error{Code: reason.InTotoLinksDiffer, What: at.what("steps", ""), Expected: "the same materials and products from each functionary of a step",
			Found: clip(err.Error()), Next: "have the step done again by all of its functionaries"}
	}
	if err := at.artifacts(known, reduced); err != nil {
		return none, err
	}
	first, _ := reduced[l.Steps[0].Name].GetPayload().(in_toto.Link)
	last, _ := reduced[l.Steps[len(l.Steps)-1].Name].GetPayload().(in_toto.Link)
	return in_toto.Link{Type: "link", Materials: first.Materials, Products: last.Products}, nil
}

// what names a step, or a layout, for people.
func (at place) what(kind, step string) string {
	if step == "" {
		return strings.TrimSuffix("check in-toto "+kind+" "+strings.TrimSuffix(at.path, "/"), " ")
	}
	return "check in-toto " + kind + " " + at.path + step
}

// demands refuses a layout that asks for too little, or for too much.
func (at place) demands(l in_toto.Layout) error {
	const next = "ask whoever signs the layout for another one"
	refuse := func(code reason.Code, step, expected, found string) error {
		kind := "step"
		if step == "" {
			kind = "layout"
		}
		return &reason.Error{Code: code, What: at.what(kind, step), Expected: expected, Found: found, Next: next}
	}
	if len(l.Inspect) > 0 {
		return refuse(reason.InTotoInspection, "", "no inspect: its commands would run on this host", fmt.Sprintf("%d, the first %.100q", len(l.Inspect), l.Inspect[0].Run))
	}
	if len(l.Steps) == 0 {
		return refuse(reason.InTotoLayoutEmpty, "", "at least one step", "none")
	}
	for _, s := range l.Steps {
		if s.Threshold < 1 {
			return refuse(reason.InTotoThreshold, s.Name, "a threshold of at least 1", fmt.Sprint(s.Threshold))
		}
		if len(s.CertificateConstraints) > 0 {
			return refuse(reason.InTotoCertificate, s.Name, "functionaries by their keys", fmt.Sprintf("%d cert_constraints", len(s.CertificateConstraints)))
		}
		for _, rules := range []struct {
			kind string
			list [][]string
		}{{"expected_materials", s.ExpectedMaterials}, {"expected_products", s.ExpectedProducts}} {
			if len(rules.list) > 0 && !closes(rules.list[len(rules.list)-1]) {
				return refuse(reason.InTotoDisallow, s.Name, rules.kind+" that end in DISALLOW *", clip(strings.Join(rules.list[len(rules.list)-1], " ")))
			}
		}
	}
	return nil
}

// step finds the links that count for one step.
func (c *check) step(l in_toto.Layout, s in_toto.Step, at place) (map[string]in_toto.Metadata, error) {
	files := c.files(at.folder + s.Name)
	if len(files) == 0 {
		return nil, &reason.Error{Code: reason.InTotoLinkAbsent, What: at.what("step", s.Name), Expected: fmt.Sprintf("%s.KEYID.link of %d of its functionaries", at.folder+s.Name, s.Threshold),
			Found: fmt.Sprintf("none among %d links", len(c.links)), Next: "name the folder of the links: --links DIR"}
	}
	found := map[string]in_toto.Metadata{}
	who := map[string]bool{}
	var why *reason.Error
	for _, file := range files {
		d, err := parse("link "+file, c.links[file], reason.InTotoLinkMalformed)
		if err != nil {
			return nil, err
		}
		signer := strings.TrimSuffix(strings.TrimPrefix(file, at.folder+s.Name+"."), ".link")
		signed := false
		for _, sig := range d.signatures {
			if !strings.HasPrefix(sig.KeyID, signer) {
				continue
			}
			signed = true
			if refused := c.counts(l, s, at, d, sig.KeyID); refused != nil {
				why = first(why, refused)
				continue
			}
			link := in_toto.Metadata(d)
			if sub, ok := d.payload.(in_toto.Layout); ok {
				below := place{folder: at.folder + s.Name + "." + signer + "/", path: at.path + s.Name + "/", depth: at.depth + 1}
				sum, err := c.sublayout(sub, below)
				if err != nil {
					return nil, err
				}
				sum.Name = s.Name
				link = document{payload: sum}
			}
			found[sig.KeyID] = link
			key, err := functionary(l.Keys[sig.KeyID])
			if err != nil { // parse has seen to it
				return nil, &reason.Error{Code: reason.InTotoLayoutMalformed, What: at.what("step", s.Name), Err: err}
			}
			who[key.ID()] = true
		}
		if !signed {
			why = first(why, at.refuse(s, reason.InTotoLinkInvalid, file, "a signature by key "+signer+"...", fmt.Sprintf("%d by others", len(d.signatures))))
		}
	}
	switch {
	case len(who) >= s.Threshold:
		c.steps = append(c.steps, Step{Name: at.path + s.Name, Functionaries: slices.Sorted(maps.Keys(who)), Threshold: s.Threshold})
		return found, nil
	case len(who) == 0 && why != nil:
		return nil, why
	}
	e := at.refuse(s, reason.InTotoStepUnmet, "", fmt.Sprintf("links by %d distinct functionaries", s.Threshold), fmt.Sprintf("%d: %s", len(who), some(slices.Sorted(maps.Keys(who)))))
	if why != nil {
		e.Found += "; besides, " + clip(why.Error())
	}
	return nil, e
}

func first(a, b *reason.Error) *reason.Error {
	if a != nil {
		return a
	}
	return b
}

// files are the links that stand under the name of a step.
func (c *check) files(step string) (out []string) {
	for file := range c.links {
		rest, ok := strings.CutPrefix(file, step+".")
		signer, link := strings.CutSuffix(rest, ".link")
		if ok && link && len(signer) == short && keyID(signer) {
			out = append(out, file)
		}
	}
	slices.Sort(out)
	return out
}

// counts says why a link does not count for a step; nil if it does.
func (c *check) counts(l in_toto.Layout, s in_toto.Step, at place, d document, signer string) *reason.Error {
	link, isLink := d.payload.(in_toto.Link)
	if isLink && link.Name != s.Name {
		return at.refuse(s, reason.InTotoLinkName, "", "a link of step "+s.Name, "one of step "+clip(link.Name))
	}
	if !slices.Contains(s.PubKeys, signer) {
		code, found := reason.InTotoLinkFunctionary, "in-toto key "+signer
		if !isLink {
			code = reason.InTotoSublayoutUnauthorized
		}
		for _, other := range l.Steps {
			if slices.Contains(other.PubKeys, signer) {
				found += ", a functionary of " + other.Name
				break
			}
		}
		return at.refuse(s, code, "", "a functionary of "+s.Name+": "+some(s.PubKeys), found)
	}
	// One link alone: with several, in-toto-golang may take one functionary's
	// right for another's.
	s.Threshold = 1
	l.Steps = []in_toto.Step{s}
	if _, err := in_toto.VerifyLinkSignatureThesholds(l, map[string]map[string]in_toto.Metadata{s.Name: {signer: d}}, nil, nil); err != nil {
		return at.refuse(s, reason.InTotoLinkInvalid, "", "a signature by in-toto key "+signer, "one that does not prove")
	}
	return nil
}

// refuse is a refusal about one step.
func (at place) refuse(s in_toto.Step, code reason.Code, file, expected, found string) *reason.Error {
	if file != "" {
		found = file + ": " + found
	}
	return &reason.Error{Code: code, What: at.what("step", s.Name), Expected: expected, Found: found,
		Next: "have " + s.Name + " done again by its functionaries, and give their links with --links DIR"}
}

// sublayout does what a functionary gave in place of a link.
func (c *check) sublayout(l in_toto.Layout, at place) (in_toto.Link, error) {
	if at.depth > maxDepth {
		return in_toto.Link{}, &reason.Error{Code: reason.InTotoSublayoutDepth, What: at.what("sublayout", ""),
			Expected: fmt.Sprintf("at most %d sublayouts within each other", maxDepth-1), Found: "one more", Next: "ask whoever signs the layout for a flatter one"}
	}
	return c.layout(l, at)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
