package policy

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
)

// layout reads a layout demand: who must have signed an in-toto layout, and which
// product of its last step the artifact must be.
func (r *reader) layout(d *demand, n form.Node) {
	d.begin(layout, n)
	var by, threshold form.Node
	n.Fields(fields{ // and no ages and logs: nobody proves when a layout was signed, and it has an end of its own
		"by":        func(v form.Node) { by = v },
		"threshold": func(v form.Node) { threshold = v },
		"product": func(v form.Node) {
			if d.product = v.Text(); d.product == "" || path.Clean(d.product) != d.product {
				v.Fail(reason.FormValue, "the name of a product as links have it, such as image.json", fmt.Sprintf("%.80q", d.product), "")
			}
		},
	})
	n.Need("by", "product")
	d.who = r.whom(n, by, threshold)
	for _, id := range d.by {
		if id.key.Zero() {
			n.Fail(reason.FormValue, "identities with a key, which is what signs a layout", fmt.Sprintf("%.60q without one", id.name), "")
		}
	}
}

// layout holds the layout that was given against a demand.
func (e *evaluation) layout(d demand, f Finding) {
	e.asked = true
	given := "ztlaunch verify --layout FILE --links DIR " + reason.Word(e.in.Artifact.Ref().String())
	switch why := e.in.LayoutRefused; {
	case why != nil:
		f.Code, f.Expected, f.Next = why.Code, why.Expected, cmp.Or(why.Next, why.Code.Next())
		f.Found = strings.TrimPrefix(why.What, "check ") + ": " + why.Found
		if why.Err != nil {
			f.Found += why.Err.Error()
		}
		f.Found = clip(f.Found)
		if f.Expected == "" {
			f.Expected = "an in-toto layout whose steps were done as it prescribes"
		}
		e.fail(f)
		return
	case e.in.Layout.Zero():
		f.Code, f.Expected, f.Found, f.Next = reason.InTotoLayoutAbsent, "an in-toto layout by "+words(names(d.by)), "none was given", given
		e.fail(f)
		return
	}
	met := e.layoutSigners(d)
	for _, id := range met {
		if why := e.in.Feed.signer(evidence.Signer{Key: id.key.ID()}); why != nil {
			f.Code, f.Expected, f.Found, f.Next = why.code, why.expected, why.found, why.next
			e.fail(f)
			return
		}
	}
	if why := e.in.Feed.steps(e.in.Layout.Steps()); why != nil {
		f.Code, f.Expected, f.Found, f.Next = why.code, why.expected, why.found, why.next
		e.fail(f)
		return
	}
	switch {
	case len(met) == 0:
		f.Code, f.Expected, f.Found = reason.InTotoLayoutWrongSigner, "an in-toto layout by "+words(names(d.by)), "one by "+some(e.in.Layout.Signers())
		f.Next = "have the layout signed by one of them, or name its signer in by"
		e.fail(f)
	case len(met) < d.threshold:
		f.Code, f.Expected = reason.ThresholdUnmet, fmt.Sprintf("%d of %s", d.threshold, words(names(d.by)))
		f.Found, f.Next = fmt.Sprintf("%d: %s", len(met), words(names(met))), "have the layout signed by the others too"
		e.fail(f)
	default:
		e.product(d, f, met)
	}
}

// layoutSigners are the identities that signed the layout and may sign now, one for
// each key.
func (e *evaluation) layoutSigners(d demand) (met []Identity) {
	for _, id := range d.by {
		same := func(other Identity) bool { return other.key.ID() == id.key.ID() }
		if !id.key.Zero() && id.key.Valid(e.in.Now) && slices.Contains(e.in.Layout.Signers(), id.key.ID()) && !slices.ContainsFunc(met, same) {
			met = append(met, id)
		}
	}
	return met
}

// product asks whether the artifact is what the last step made.
func (e *evaluation) product(d demand, f Finding, met []Identity) {
	o, subjects := e.in.Layout, e.in.Artifact.Subjects()
	f.Expected = d.product + " " + list(subjects)
	f.Next = "run its steps for this artifact, or name the product that it is: product: NAME"
	made, ok := o.Products()[d.product]
	switch {
	case !ok:
		f.Code, f.Found = reason.InTotoProductAbsent, fmt.Sprintf("none of %d products of %s", len(o.Products()), lastStep(o))
		e.fail(f)
		return
	case !slices.Contains(subjects, made):
		f.Code, f.Found = reason.InTotoProductMismatch, d.product+" "+made.String()
		e.fail(f)
		return
	}
	f.Next = ""
	for _, id := range met {
		e.out.proved = append(e.out.proved, Proved{Identity: id.name, Signer: evidence.Signer{Key: id.key.ID()}, Predicate: steps.Type,
			Subject: made, Index: made == e.in.Artifact.Index(), Envelope: o.Layout()})
		f.Signers = append(f.Signers, id.name)
	}
	e.out.steps = o.Steps()
	f.Evidence = []digest.Digest{o.Layout()}
	f.Found = fmt.Sprintf("%s, of %s; steps: %d", made, lastStep(o), len(o.Steps()))
	e.ends(o.Until())
	e.out.met++
	e.pass(f)
}

func lastStep(o steps.Outcome) string {
	all := o.Steps()
	return clip(all[len(all)-1].Name)
}

// spare says that a layout was given for nothing: nobody takes it for checked.
func (e *evaluation) spare() {
	if !e.asked && (e.in.LayoutRefused != nil || !e.in.Layout.Zero()) {
		e.out.findings = append(e.out.findings, Finding{What: "in-toto layout", Skipped: true, Found: "given, and no rule that applies demands one"})
	}
}
