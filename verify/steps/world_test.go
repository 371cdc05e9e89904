package steps_test

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

var (
	now   = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	until = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
)

// somebody makes a functionary with a new key.
func somebody(t testing.TB) (verifytest.Functionary, trust.Key) {
	t.Helper()
	k := verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	return k.Functionary(t), key
}

func sum(text string) string {
	b := sha256.Sum256([]byte(text))
	return hex.EncodeToString(b[:])
}

func sums(names ...string) map[string]string {
	out := map[string]string{}
	for _, n := range names {
		out[n] = sum(n)
	}
	return out
}

// form is one of the two forms of a document.
type form func(t testing.TB, v any, by ...verifytest.Functionary) []byte

// scene is a chain of two steps: fetch by alice, then build by bob and carol,
// signed by owner. Tests spoil it before they check it.
type scene struct {
	owner, alice, bob, carol verifytest.Functionary
	key                      trust.Key // owner's
	form                     form
	signers                  []verifytest.Functionary // of the layout
	fetch, build             verifytest.Step
	layout                   func(l map[string]any) // changes it before it is signed
	links                    map[string][]byte
	now                      time.Time
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := scene{form: verifytest.Metablock, now: now}
	s.owner, s.key = somebody(t)
	s.alice, _ = somebody(t)
	s.bob, _ = somebody(t)
	s.carol, _ = somebody(t)
	s.arrange(t)
	return &s
}

// arrange writes the good chain with the scene's people and form.
func (s *scene) arrange(t testing.TB) {
	t.Helper()
	s.signers = []verifytest.Functionary{s.owner}
	s.fetch = verifytest.Step{Name: "fetch", By: []verifytest.Functionary{s.alice}, Threshold: 1,
		Products: []string{"CREATE src/*", "DISALLOW *"}}
	s.build = verifytest.Step{Name: "build", By: []verifytest.Functionary{s.bob, s.carol}, Threshold: 2,
		Materials: []string{"MATCH src/* WITH PRODUCTS FROM fetch", "DISALLOW *"},
		Products:  []string{"CREATE image.json", "ALLOW src/*", "DISALLOW *"}}
	s.links = map[string][]byte{}
	s.link(t, "fetch", nil, sums("src/a.c", "src/b.c"), s.alice)
	s.link(t, "build", sums("src/a.c", "src/b.c"), sums("src/a.c", "image.json"), s.bob)
	s.link(t, "build", sums("src/a.c", "src/b.c"), sums("src/a.c", "image.json"), s.carol)
}

// link puts a link where by's link of that step lies.
func (s *scene) link(t testing.TB, step string, materials, products map[string]string, by verifytest.Functionary) {
	t.Helper()
	s.links[verifytest.LinkFile(step, by, ".link")] = s.form(t, verifytest.Link(step, materials, products), by)
}

func (s *scene) files(t testing.TB) steps.Files {
	t.Helper()
	l := verifytest.Layout(until, s.fetch, s.build)
	if s.layout != nil {
		s.layout(l)
	}
	return steps.Files{Layout: s.form(t, l, s.signers...), Links: s.links}
}

func (s *scene) check(t testing.TB) (steps.Outcome, error) {
	t.Helper()
	return steps.Check(s.files(t), []trust.Key{s.key}, s.now)
}

// refused says that the scene ends with that code and proves nothing.
func (s *scene) refused(t testing.TB, want reason.Code) *reason.Error {
	t.Helper()
	o, err := s.check(t)
	e, ok := reason.Of(err)
	if !ok || e.Code != want {
		t.Fatalf("%v, want %s", err, want)
	}
	if !o.Zero() || len(o.Products()) > 0 {
		t.Errorf("%s, and an outcome: %+v", want, o)
	}
	if e.What == "" || e.Expected == "" && e.Err == nil || want.Class() == reason.Internal {
		t.Errorf("%+v does not say what was expected", e)
	}
	return e
}

// step is one step of a layout, as it will be written.
func step(l map[string]any, name string) map[string]any {
	all := l["steps"].([]any)
	i := slices.IndexFunc(all, func(s any) bool { return s.(map[string]any)["name"] == name })
	return all[i].(map[string]any)
}

// inFolder are links under the folder of a sublayout.
func inFolder(folder string, links map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for name, raw := range links {
		out[folder+"/"+name] = raw
	}
	return out
}

// nested replaces the scene by one whose step outer was done by alice with the
// scene as her sublayout.
func (s *scene) nested(t testing.TB, by verifytest.Functionary, allowed ...verifytest.Functionary) *scene {
	t.Helper()
	inner := s.files(t)
	out := newScene(t)
	out.fetch = verifytest.Step{Name: "outer", By: allowed, Threshold: 1, Products: []string{"CREATE image.json", "ALLOW src/*", "DISALLOW *"}}
	out.build = verifytest.Step{Name: "ship", By: []verifytest.Functionary{out.bob}, Threshold: 1,
		Materials: []string{"MATCH * WITH PRODUCTS FROM outer", "DISALLOW *"}, Products: []string{"ALLOW image.json", "DISALLOW *"}}
	out.links = inFolder(verifytest.LinkFile("outer", by, ""), inner.Links)
	out.links[verifytest.LinkFile("outer", by, ".link")] = inner.Layout
	out.link(t, "ship", sums("src/a.c", "image.json"), sums("image.json"), out.bob)
	return out
}

// TestCheck: a good chain passes in both forms and with every kind of key, and its
// outcome says who did what.
func TestCheck(t *testing.T) {
	forms := map[string]form{"metablock": verifytest.Metablock, "dsse": verifytest.InTotoEnvelope}
	for kind, signer := range signers(t) {
		for name, form := range forms {
			t.Run(kind+" "+name, func(t *testing.T) {
				s := newScene(t)
				s.form, s.alice = form, verifytest.NewFunctionary(t, signer)
				s.owner = s.alice
				var err error
				if s.key, err = trust.NewKey(signer.Public()); err != nil {
					t.Fatal(err)
				}
				s.arrange(t)
				s.good(t)
			})
		}
	}
}

func (s *scene) good(t *testing.T) {
	t.Helper()
	o, err := s.check(t)
	if err != nil {
		t.Fatal(err)
	}
	if o.Zero() || !slices.Equal(o.Signers(), []string{s.key.ID()}) || !o.Until().Equal(until) {
		t.Errorf("signed by %v until %v", o.Signers(), o.Until())
	}
	products := map[string]string{}
	for name, d := range o.Products() {
		products[name] = d.Encoded()
	}
	if !maps.Equal(products, sums("src/a.c", "image.json")) {
		t.Errorf("products %v", products)
	}
	did := o.Steps()
	if len(did) != 2 || did[0].Name != "fetch" || len(did[0].Functionaries) != 1 || did[1].Name != "build" || len(did[1].Functionaries) != 2 || did[1].Threshold != 2 {
		t.Errorf("steps %+v", did)
	}
	for _, d := range did {
		for _, who := range d.Functionaries {
			if !strings.HasPrefix(who, "sha256:") {
				t.Errorf("%s by %s", d.Name, who)
			}
		}
	}
	did[0].Functionaries[0] = ""
	o.Products()["image.json"], o.Signers()[0] = "", ""
	if o.Products()["image.json"] == "" || o.Signers()[0] == "" || o.Steps()[0].Functionaries[0] == "" {
		t.Error("an outcome can be changed from outside")
	}
}
