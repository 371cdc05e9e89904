package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// layout makes and checks one: "SIGNER,... PRODUCT SUBJECT [expired | inspect]".
func (s *scene) layout(t testing.TB, line string, root trust.Root) {
	t.Helper()
	f := strings.Fields(line)
	builder := cast()["other"].private.Functionary(t)
	until := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	if slices.Contains(f[3:], "expired") {
		until = now.Add(-time.Hour)
	}
	l := verifytest.Layout(until, verifytest.Step{Name: "build", By: []verifytest.Functionary{builder}, Threshold: 1, Products: []string{"ALLOW *", "DISALLOW *"}})
	if slices.Contains(f[3:], "inspect") {
		l["inspect"] = []any{map[string]any{"_type": "inspection", "name": "look", "run": []any{"true"}, "expected_materials": []any{}, "expected_products": []any{}}}
	}
	var by []verifytest.Functionary
	for _, who := range strings.Split(f[0], ",") {
		by = append(by, cast()[who].private.Functionary(t))
	}
	link := verifytest.Link("build", nil, map[string]string{f[1]: namedSums[f[2]].Encoded(), "log.txt": otherSum.Encoded()})
	o, err := steps.Check(steps.Files{Layout: verifytest.Metablock(t, l, by...),
		Links: map[string][]byte{verifytest.LinkFile("build", builder, ".link"): verifytest.Metablock(t, link, builder)}}, root.Keys(), now)
	if err != nil {
		var ok bool
		if s.in.LayoutRefused, ok = reason.Of(err); !ok {
			t.Fatal(err)
		}
	}
	s.in.Layout = o
}

// TestN46LayoutByOneOfTwoKeys: where two keys must have signed a layout, one of
// them is not enough, and either alone is where one must.
func TestN46LayoutByOneOfTwoKeys(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/layout-by-one-of-two.txtar")
	d := Evaluate(s.policy, s.in)
	if d.Allowed() || d.Findings()[0].Code != reason.ThresholdUnmet {
		t.Errorf("%s", show(d))
	}
	s.policy.rules[0].demands[0].threshold = 1
	if d := Evaluate(s.policy, s.in); !d.Allowed() {
		t.Errorf("%s", show(d))
	}
	s.policy.rules[0].demands[0].threshold = 2
	s.policy.rules[0].demands[0].by = append(s.policy.rules[0].demands[0].by[1:], s.policy.rules[0].demands[0].by[1])
	if d := Evaluate(s.policy, s.in); d.Allowed() || d.Findings()[0].Code != reason.ThresholdUnmet {
		t.Errorf("one key under two names: %s", show(d))
	}
}

// TestLayoutKeyWindow: an identity whose key may no longer sign is not met by the same
// key under a name that may.
func TestLayoutKeyWindow(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-intoto.txtar")
	by := &s.policy.rules[1].demands[1].by[0]
	by.key = by.key.Within(time.Time{}, now.Add(-time.Hour))
	d := Evaluate(s.policy, s.in)
	if all := d.Findings(); d.Allowed() || all[len(all)-1].Code != reason.InTotoLayoutWrongSigner {
		t.Errorf("%s", show(d))
	}
}

// TestLayoutProved: what a layout proves is in the decision, for locks and records.
func TestLayoutProved(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-layout-index.txtar")
	d := Evaluate(s.policy, s.in)
	all := d.Proved()
	p := all[len(all)-1]
	if p.Signer.Key != cast()["release"].public.ID() || p.Identity != "release" || p.Predicate != steps.Type ||
		p.Subject != indexSum || !p.Index || p.Envelope != s.in.Layout.Layout() {
		t.Errorf("%+v", all)
	}
}

// TestParseLayout reads good and bad layout demands.
func TestParseLayout(t *testing.T) {
	ci := "identities: {release: {key: keys/release.pub}, ci: {keyless: {issuer: https://accounts.example, san: dev@acme.example}}}\n" +
		"models: [{match: m, require: [{signature: {by: [ci, release]}}]}]\n"
	for _, c := range []struct {
		name, doc string
		want      reason.Code
	}{
		{"good", demanded("{layout: {by: [release], product: out/image.json}}"), ""},
		{"no product", demanded("{layout: {by: [release]}}"), reason.FormMissingKey},
		{"product empty", demanded("{layout: {by: [release], product: \"\"}}"), reason.FormValue},
		{"product unclean", demanded("{layout: {by: [release], product: ./image.json}}"), reason.FormValue},
		{"nobody", demanded("{layout: {product: x}}"), reason.FormMissingKey},
		{"threshold zero", demanded("{layout: {by: [release], threshold: 0, product: x}}"), reason.FormValue},
		{"threshold of more", demanded("{layout: {by: [release], threshold: 2, product: x}}"), reason.PolicyThreshold},
		{"age", demanded("{layout: {by: [release], maxAge: 1h, product: x}}"), reason.FormUnknownKey},
		{"keyless", ci + "images: [{match: registry.example/a, require: [{layout: {by: [ci], product: x}}]}]\n", reason.FormValue},
		{"beside another", demanded("{layout: {by: [release], product: x}, signature: {by: [release]}}"), reason.FormValue},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := Parse([]byte(c.doc), "policy.yaml", keyFile)
			if e, _ := reason.Of(err); (c.want == "") != (err == nil) || e != nil && e.Code != c.want || (err == nil) == p.Zero() {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	same := func(product string) string {
		p, err := Parse([]byte(demanded("{layout: {by: [release], product: "+product+"}}")), "policy.yaml", keyFile)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(p.lines(), "\n")
	}
	if same("x") == same("y") {
		t.Error("two policies that decide differently have the same lines")
	}
}
