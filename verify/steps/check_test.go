package steps_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// signers are keys of every kind that is believed.
func signers(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	out := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	out["ed25519"], out["rsa"] = ed, k
	return out
}

// TestN44InspectionRunsNothing: an inspection that would start a command is
// refused, in the layout and in a sublayout, and nothing is run.
func TestN44InspectionRunsNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	mark := filepath.Join(dir, "mark")
	inspect := func(l map[string]any) {
		l["inspect"] = []any{map[string]any{"_type": "inspection", "name": "look", "run": []any{"touch", mark},
			"expected_materials": []any{}, "expected_products": []any{}}}
	}
	s := newScene(t)
	s.layout = inspect
	s.refused(t, reason.InTotoInspection)

	s = newScene(t)
	s.signers, s.layout = []verifytest.Functionary{s.alice}, inspect
	s.nested(t, s.alice, s.alice).refused(t, reason.InTotoInspection)

	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("something was run, or written: %v %v", left, err)
	}
}

// TestN45LayoutEmpty: a layout without steps would let anything pass.
func TestN45LayoutEmpty(t *testing.T) {
	for _, none := range []any{[]any{}, nil} {
		s := newScene(t)
		s.layout = func(l map[string]any) { l["steps"] = none }
		s.refused(t, reason.InTotoLayoutEmpty)
	}
	s := newScene(t)
	s.signers, s.layout = []verifytest.Functionary{s.alice}, func(l map[string]any) { l["steps"] = []any{} }
	s.nested(t, s.alice, s.alice).refused(t, reason.InTotoLayoutEmpty)
}

// TestN46LayoutExpired: a layout counts until expires, at the time that is given,
// and so does a sublayout.
func TestN46LayoutExpired(t *testing.T) {
	s := newScene(t)
	s.now = until.Add(-1)
	if _, err := s.check(t); err != nil {
		t.Fatal(err)
	}
	s.now = until
	s.refused(t, reason.InTotoLayoutExpired)
	s.now = time.Time{} // which nobody set
	s.refused(t, reason.InTotoLayoutExpired)

	s = newScene(t)
	s.signers = []verifytest.Functionary{s.alice}
	s.layout = func(l map[string]any) { l["expires"] = "2026-06-01T12:00:00Z" }
	outer := s.nested(t, s.alice, s.alice)
	outer.refused(t, reason.InTotoLayoutExpired)
	outer.now = now.Add(-1)
	o, err := outer.check(t)
	if err != nil || !o.Until().Equal(now) {
		t.Errorf("until %v: %v", o.Until(), err)
	}
}

// TestN46LayoutUnsigned: a layout that nobody signed proves nothing.
func TestN46LayoutUnsigned(t *testing.T) {
	s := newScene(t)
	s.signers = nil
	s.refused(t, reason.InTotoLayoutUnsigned)
}

// TestN46LayoutOfAnother: a layout by somebody else, one that was changed since,
// and one that borrows the key id of the right signer.
func TestN46LayoutOfAnother(t *testing.T) {
	for _, form := range []form{verifytest.Metablock, verifytest.InTotoEnvelope} {
		s := newScene(t)
		s.form = form
		s.arrange(t)
		mallory, _ := somebody(t)
		s.signers = []verifytest.Functionary{mallory}
		s.refused(t, reason.InTotoLayoutWrongSigner)
		s.signers = []verifytest.Functionary{mallory.As(s.owner.ID)}
		s.refused(t, reason.InTotoLayoutWrongSigner)
		s.signers = []verifytest.Functionary{s.owner.As("0123456789abcdef"), mallory}
		if _, err := s.check(t); err != nil {
			t.Errorf("the key id selects: %v", err)
		}
	}
	s := newScene(t)
	f := s.files(t)
	f.Layout = []byte(strings.Replace(string(f.Layout), `"CREATE","image.json"`, `"CREATE","imagE.json"`, 1))
	_, err := steps.Check(f, []trust.Key{s.key}, now)
	if e, ok := reason.Of(err); !ok || e.Code != reason.InTotoLayoutWrongSigner {
		t.Error(err)
	}
	if _, err := steps.Check(s.files(t), nil, now); err == nil {
		t.Error("without a key, anybody's layout passes")
	}
}

// TestLayoutByTwo: the outcome names each trusted key that signed, once, and a key
// outside of its window is none.
func TestLayoutByTwo(t *testing.T) {
	s := newScene(t)
	second, key := somebody(t)
	_, third := somebody(t)
	s.signers = []verifytest.Functionary{s.owner, second, second.As("0123456789abcdef")}
	o, err := steps.Check(s.files(t), []trust.Key{s.key, key, third, key.Within(now.AddDate(-1, 0, 0), time.Time{})}, now)
	want := []string{s.key.ID(), key.ID()}
	slices.Sort(want)
	if err != nil || !slices.Equal(o.Signers(), want) {
		t.Errorf("signers %v: %v", o.Signers(), err)
	}
	s.key = s.key.Within(time.Time{}, now.Add(-1))
	s.refused(t, reason.KeyOutsideWindow)
}

// TestN47DisallowMissing: what no rule names must not pass, so each list of rules
// ends in DISALLOW *, and a list that is empty allows nothing.
func TestN47DisallowMissing(t *testing.T) {
	for name, spoil := range map[string]func(s *scene){
		"products without":     func(s *scene) { s.build.Products = []string{"ALLOW *"} },
		"materials without":    func(s *scene) { s.build.Materials = []string{"MATCH src/* WITH PRODUCTS FROM fetch"} },
		"not the last":         func(s *scene) { s.build.Products = []string{"CREATE image.json", "DISALLOW *", "ALLOW *"} },
		"of less":              func(s *scene) { s.build.Products = []string{"ALLOW *", "DISALLOW *.o"} },
		"products and no rule": func(s *scene) { s.build.Products = nil },
		"materials and no rule": func(s *scene) {
			s.build.Materials = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			spoil(s)
			s.refused(t, reason.InTotoDisallow)
		})
	}
}

// TestN19ThresholdOfAStep: a threshold of zero, or below, asks for nobody.
func TestN19ThresholdOfAStep(t *testing.T) {
	for _, n := range []int{0, -1} {
		s := newScene(t)
		s.fetch.Threshold = n
		s.refused(t, reason.InTotoThreshold)
		clear(s.links)
		s.refused(t, reason.InTotoThreshold)
	}
	s := newScene(t)
	s.layout = func(l map[string]any) { delete(step(l, "fetch"), "threshold") }
	s.refused(t, reason.InTotoThreshold)
}

// TestN18OneKeyUnderTwoIDs: one key that a layout lists under two key ids is one
// functionary, whether she signs one link or two.
func TestN18OneKeyUnderTwoIDs(t *testing.T) {
	for _, form := range []form{verifytest.Metablock, verifytest.InTotoEnvelope} {
		s := newScene(t)
		s.form = form
		s.carol = s.bob.As(strings.Repeat("c", 64))
		s.arrange(t)
		if e := s.refused(t, reason.InTotoStepUnmet); !strings.HasPrefix(e.Found, "1:") {
			t.Errorf("found %s", e.Found)
		}
		s.build.Threshold = 1
		if _, err := s.check(t); err != nil {
			t.Error(err)
		}
	}
}

// TestN50LinkByFunctionaryOfAnotherStep: a link that is genuine, by a functionary
// of the layout, and not one of that step.
func TestN50LinkByFunctionaryOfAnotherStep(t *testing.T) {
	s := newScene(t)
	clear(s.links)
	s.arrange(t)
	delete(s.links, verifytest.LinkFile("fetch", s.alice, ".link"))
	s.link(t, "fetch", nil, sums("src/a.c", "src/b.c"), s.bob)
	if e := s.refused(t, reason.InTotoLinkFunctionary); !strings.Contains(e.Found, "a functionary of build") {
		t.Errorf("found %s", e.Found)
	}
	mallory, _ := somebody(t)
	s.arrange(t)
	delete(s.links, verifytest.LinkFile("fetch", s.alice, ".link"))
	s.link(t, "fetch", nil, sums("src/a.c", "src/b.c"), mallory)
	s.refused(t, reason.InTotoLinkFunctionary)
}

// TestN50LinkRenamed: a link of one step under the name of another, signed by
// somebody who may do both.
func TestN50LinkRenamed(t *testing.T) {
	s := newScene(t)
	s.bob = s.alice
	s.arrange(t)
	s.build.Threshold = 1
	delete(s.links, verifytest.LinkFile("build", s.carol, ".link"))
	if _, err := s.check(t); err != nil {
		t.Fatal(err)
	}
	s.links[verifytest.LinkFile("build", s.alice, ".link")] = s.links[verifytest.LinkFile("fetch", s.alice, ".link")]
	s.refused(t, reason.InTotoLinkName)
}

// TestN49SublayoutByUnauthorisedKey: only a functionary of a step may give a
// sublayout in place of its link.
func TestN49SublayoutByUnauthorisedKey(t *testing.T) {
	s := newScene(t)
	s.signers = []verifytest.Functionary{s.alice}
	outer := s.nested(t, s.alice, s.alice)
	o, err := outer.check(t)
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, d := range o.Steps() {
		did = append(did, d.Name)
	}
	if want := []string{"outer/fetch", "outer/build", "outer", "ship"}; !slices.Equal(did, want) || len(o.Products()) != 1 {
		t.Errorf("steps %v, products %v", did, o.Products())
	}
	s.nested(t, s.alice, s.bob).refused(t, reason.InTotoSublayoutUnauthorized)

	// Somebody else's sublayout under the name of a functionary's.
	s.signers = []verifytest.Functionary{s.bob.As(s.alice.ID)}
	s.nested(t, s.alice, s.alice).refused(t, reason.InTotoLinkInvalid)

	// The links of a sublayout count in its own folder alone.
	s.signers = []verifytest.Functionary{s.alice}
	outer = s.nested(t, s.alice, s.alice)
	moved := map[string][]byte{}
	for name, raw := range outer.links {
		moved[name[strings.LastIndexByte(name, '/')+1:]] = raw
	}
	outer.links = moved
	outer.refused(t, reason.InTotoLinkAbsent)

	// What a sublayout made is held to the rules of the step that it does.
	outer = s.nested(t, s.alice, s.alice)
	outer.fetch.Products = []string{"CREATE other.json", "ALLOW src/*", "DISALLOW *"}
	outer.refused(t, reason.InTotoArtifactRule)
}

// TestSublayoutDepth: four layouts within a layout, and no fifth.
func TestSublayoutDepth(t *testing.T) {
	s := newScene(t)
	for range 4 {
		s.signers = []verifytest.Functionary{s.alice}
		s = s.nested(t, s.alice, s.alice)
		s.arrangeShip(t)
	}
	if _, err := s.check(t); err != nil {
		t.Fatal(err)
	}
	s.signers = []verifytest.Functionary{s.alice}
	s = s.nested(t, s.alice, s.alice)
	s.arrangeShip(t)
	s.refused(t, reason.InTotoSublayoutDepth)
}

// arrangeShip lets ship hand on all that it got, so that scenes nest.
func (s *scene) arrangeShip(t *testing.T) {
	t.Helper()
	s.build.Products = []string{"ALLOW *", "DISALLOW *"}
	s.link(t, "ship", sums("src/a.c", "image.json"), sums("src/a.c", "image.json"), s.bob)
}

// TestCertificateFunctionaries: a step whose functionaries are named by
// certificate is refused, keys beside them or not.
func TestCertificateFunctionaries(t *testing.T) {
	s := newScene(t)
	s.layout = func(l map[string]any) {
		step(l, "fetch")["cert_constraints"] = []any{map[string]any{"common_name": "*", "dns_names": []any{"*"}, "emails": []any{"*"},
			"organizations": []any{"*"}, "roots": []any{"*"}, "uris": []any{"*"}}}
	}
	s.refused(t, reason.InTotoCertificate)
}

// TestLinks: links that are absent, changed, too few, or at odds; and some that
// are too many.
func TestLinks(t *testing.T) {
	bobs := func(s *scene) string { return verifytest.LinkFile("build", s.bob, ".link") }
	for _, c := range []struct {
		name  string
		spoil func(s *scene)
		want  reason.Code
	}{
		{"absent", func(s *scene) { delete(s.links, verifytest.LinkFile("fetch", s.alice, ".link")) }, reason.InTotoLinkAbsent},
		{"another name", func(s *scene) {
			s.links["fetch.link"] = s.links[verifytest.LinkFile("fetch", s.alice, ".link")]
			delete(s.links, verifytest.LinkFile("fetch", s.alice, ".link"))
		}, reason.InTotoLinkAbsent},
		{"tampered", func(s *scene) {
			file := verifytest.LinkFile("fetch", s.alice, ".link")
			s.links[file] = []byte(strings.ReplaceAll(string(s.links[file]), sum("src/a.c"), sum("evil")))
		}, reason.InTotoLinkInvalid},
		{"unsigned", func(s *scene) {
			s.links[verifytest.LinkFile("fetch", s.alice, ".link")] = s.form(t, verifytest.Link("fetch", nil, sums("src/a.c", "src/b.c")))
		}, reason.InTotoLinkInvalid},
		{"of another signer than its name says", func(s *scene) {
			s.links[verifytest.LinkFile("fetch", s.alice, ".link")] = s.form(t, verifytest.Link("fetch", nil, sums("src/a.c", "src/b.c")), s.bob)
		}, reason.InTotoLinkInvalid},
		{"borrowed key id", func(s *scene) {
			s.links[verifytest.LinkFile("fetch", s.alice, ".link")] = s.form(t, verifytest.Link("fetch", nil, sums("src/a.c", "src/b.c")), s.bob.As(s.alice.ID))
		}, reason.InTotoLinkInvalid},
		{"too few", func(s *scene) { delete(s.links, bobs(s)) }, reason.InTotoStepUnmet},
		{"one of two tampered", func(s *scene) { s.links[bobs(s)] = []byte(strings.ReplaceAll(string(s.links[bobs(s)]), "ok", "ko")) }, reason.InTotoStepUnmet},
		{"one link twice", func(s *scene) {
			s.links[bobs(s)] = s.links[verifytest.LinkFile("build", s.carol, ".link")]
		}, reason.InTotoStepUnmet},
		{"differ", func(s *scene) {
			s.link(t, "build", sums("src/a.c", "src/b.c"), map[string]string{"image.json": sum("evil"), "src/a.c": sum("src/a.c")}, s.bob)
		}, reason.InTotoLinksDiffer},
		{"differ in materials", func(s *scene) {
			s.link(t, "build", sums("src/a.c"), sums("src/a.c", "image.json"), s.bob)
		}, reason.InTotoLinksDiffer},
		{"differ and more than needed", func(s *scene) {
			s.build.Threshold = 1
			s.link(t, "build", sums("src/a.c"), sums("src/a.c", "image.json"), s.bob)
		}, reason.InTotoLinksDiffer},
		{"a stranger's beside", func(s *scene) {
			mallory, _ := somebody(t)
			s.link(t, "build", nil, sums("evil"), mallory)
		}, ""},
		{"a changed one beside", func(s *scene) {
			dave, _ := somebody(t)
			s.build.By = append(s.build.By, dave)
			s.link(t, "build", nil, sums("image.json"), dave)
			file := verifytest.LinkFile("build", dave, ".link")
			s.links[file] = []byte(strings.ReplaceAll(string(s.links[file]), sum("image.json"), sum("evil")))
		}, ""},
		{"signed by both", func(s *scene) {
			s.links[bobs(s)] = s.form(t, verifytest.Link("build", sums("src/a.c", "src/b.c"), sums("src/a.c", "image.json")), s.bob, s.carol)
		}, ""},
		{"of no step", func(s *scene) { s.links["other.01234567.link"] = []byte("{") }, ""},
		{"in both forms", func(s *scene) {
			s.form = verifytest.InTotoEnvelope
			s.link(t, "build", sums("src/a.c", "src/b.c"), sums("src/a.c", "image.json"), s.bob)
			s.form = verifytest.Metablock
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			c.spoil(s)
			if c.want == "" {
				s.good(t)
			} else {
				s.refused(t, c.want)
			}
		})
	}
}

// TestArtifactRules: each step takes and makes what its rules allow, and nothing
// else.
func TestArtifactRules(t *testing.T) {
	other := map[string]string{"src/a.c": sum("evil"), "src/b.c": sum("src/b.c")}
	for name, spoil := range map[string]func(s *scene){
		"material changed in between": func(s *scene) {
			for _, who := range []verifytest.Functionary{s.bob, s.carol} {
				s.link(t, "build", other, sums("src/a.c", "image.json"), who)
			}
		},
		"material from nowhere": func(s *scene) {
			for _, who := range []verifytest.Functionary{s.bob, s.carol} {
				s.link(t, "build", sums("src/a.c", "src/evil.c"), sums("src/a.c", "image.json"), who)
			}
		},
		"product that no rule names": func(s *scene) {
			for _, who := range []verifytest.Functionary{s.bob, s.carol} {
				s.link(t, "build", sums("src/a.c"), sums("image.json", "backdoor"), who)
			}
		},
		"product that was there before": func(s *scene) { s.build.Products = []string{"CREATE src/*", "CREATE image.json", "DISALLOW *"} },
		"required and absent":           func(s *scene) { s.build.Products = []string{"REQUIRE sbom.json", "ALLOW *", "DISALLOW *"} },
		"not modified":                  func(s *scene) { s.build.Products = []string{"CREATE image.json", "MODIFY src/*", "DISALLOW *"} },
		"outside of the folder of IN": func(s *scene) {
			s.build.Materials = []string{"MATCH * IN vendor WITH PRODUCTS FROM fetch", "DISALLOW *"}
		},
		"the other kind": func(s *scene) {
			s.build.Materials = []string{"MATCH src/* WITH MATERIALS FROM fetch", "DISALLOW *"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			spoil(s)
			s.refused(t, reason.InTotoArtifactRule)
		})
	}
	s := newScene(t) // IN, as it is meant
	s.fetch.Products = []string{"CREATE out/src/*", "DISALLOW *"}
	s.build.Materials = []string{"MATCH * IN src WITH PRODUCTS IN out/src FROM fetch", "DISALLOW *"}
	s.link(t, "fetch", nil, map[string]string{"out/src/a.c": sum("src/a.c"), "out/src/b.c": sum("src/b.c")}, s.alice)
	s.good(t)
}

// TestPrintsNothing: what in-toto-golang would print to standard output, commands
// that differ and patterns that do not parse, must not spoil the JSON there.
func TestPrintsNothing(t *testing.T) {
	out := os.Stdout
	defer func() { os.Stdout = out }()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = f
	s := newScene(t) // its links report other commands than the layout expects
	if _, err := s.check(t); err != nil {
		t.Error(err)
	}
	s.build.Products = []string{"ALLOW [", "DISALLOW *"}
	s.refused(t, reason.InTotoLayoutMalformed)
	s = newScene(t)
	s.signers = []verifytest.Functionary{s.alice, s.alice.As(strings.Repeat("a", 8))}
	s.form = verifytest.InTotoEnvelope
	s.arrange(t)
	_, _ = s.nested(t, s.alice, s.alice).check(t)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(f); err != nil || len(said) > 0 {
		t.Errorf("standard output: %q %v", said, err)
	}
}
