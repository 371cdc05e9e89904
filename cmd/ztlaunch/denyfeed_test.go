//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/sign"
)

// warden is a desk with a policy whose deny feed another key signs.
type warden struct {
	desk
	image string
}

// pairs are two key pairs for all tests of the deny feed: sealing and opening one
// takes a while.
var pairs = sync.OnceValues(func() (all map[string]sign.Pair, err error) {
	all = map[string]sign.Pair{}
	for _, name := range []string{"release", "warden", "other"} {
		if all[name], err = sign.Generate(nil); err != nil {
			break
		}
	}
	return all, err
})

var opened = sync.OnceValues(func() (map[string]sign.Key, error) {
	sealed, err := pairs()
	all := map[string]sign.Key{}
	for name, p := range sealed {
		if all[name], err = sign.Load(p.Private, nil); err != nil {
			break
		}
	}
	return all, err
})

func newWarden(t *testing.T) warden {
	t.Helper()
	w := warden{desk{t, t.TempDir()}, ""}
	w.image = "oci-layout:" + w.at("good")
	all, err := pairs()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range all {
		w.write(name+".key", string(p.Private))
		w.write(name+".pub", string(p.Public))
	}
	w.layoutOf("good")
	w.want(0, "sign", "--key", w.at("release.key"), w.image)
	w.write("policy.yaml", "identities: {release: {key: release.pub}, warden: {key: warden.pub}}\n"+
		"denyFeed: {file: deny.json, by: [warden], maxAge: 7d}\n"+
		"images: [{match: localhost/*, require: [{signature: {by: [release]}}]}]\n")
	return w
}

func (w warden) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.at(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// feed writes a feed with one more member, if any.
func (w warden) feed(serial int, member string) {
	w.t.Helper()
	now := time.Now().UTC()
	w.write("deny.json", fmt.Sprintf(`{"schema": "ztlaunch.deny/v1", "serial": %d, "issued": %q, "until": %q%s}`,
		serial, now.Add(-time.Hour).Format(time.RFC3339), now.Add(24*time.Hour).Format(time.RFC3339), member))
}

// sign does what ztlaunch sign does, with a key that is open.
func (w warden) sign(key string) {
	w.t.Helper()
	keys, err := opened()
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := os.ReadFile(w.at("deny.json"))
	if err == nil {
		raw, err = sign.Blob(keys[key], raw)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("deny.json.sigstore.json", string(raw))
}

// issue writes and signs a feed.
func (w warden) issue(serial int, member string) {
	w.t.Helper()
	w.feed(serial, member)
	w.sign("warden")
}

func (w warden) verify() answer {
	w.t.Helper()
	return w.call("zt", "verify", "--json", "--policy", w.at("policy.yaml"), w.image)
}

// admits and denies hold one more verification against what it must say.
func (w warden) admits(what string) {
	w.t.Helper()
	if a := w.verify(); a.status != 0 {
		w.t.Errorf("%s: status %d: %s%s", what, a.status, a.out, a.err)
	}
}

func (w warden) denies(what string, status int, code reason.Code) {
	w.t.Helper()
	w.refused(what, w.verify(), status, string(code))
}

// TestDenyFeed denies everything under a policy whose deny feed is not there, cannot be
// read, is not signed, not by the right signer, not the bytes that were signed, or
// older than one that was seen before; each for a reason of its own.
func TestDenyFeed(t *testing.T) {
	sig := "deny.json.sigstore.json"
	remove := func(w warden, name string) {
		if err := os.Remove(w.at(name)); err != nil {
			w.t.Fatal(err)
		}
	}
	for name, f := range map[string]func(w warden){
		"absent": func(w warden) { w.denies("no feed", 3, reason.DenyFeedAbsent) },
		"unreadable": func(w warden) {
			w.issue(1, "")
			remove(w, "deny.json")
			if err := os.Mkdir(w.at("deny.json"), 0o700); err != nil {
				w.t.Fatal(err)
			}
			w.denies("a folder", 3, reason.DenyFeedUnreadable)
		},
		"too large": func(w warden) {
			w.issue(1, "")
			w.write("deny.json", strings.Repeat(" ", 5<<20))
			w.denies("5 MiB", 3, reason.DenyFeedUnreadable)
		},
		"malformed": func(w warden) {
			w.feed(1, `, "images": []`)
			if a := w.call("zt", "sign", "--json", "--key", w.at("warden.key"), "deny:"+w.at("deny.json")); a.status != 2 || !strings.Contains(a.out, string(reason.SignDenyFeed)) {
				w.t.Errorf("signed: %d %s%s", a.status, a.out, a.err)
			}
			if _, err := os.Stat(w.at(sig)); err == nil {
				w.t.Error("a malformed feed was signed")
			}
			w.feed(1, "")
			for range 2 { // the second signature takes the place of the first
				w.want(0, "sign", "--key", w.at("warden.key"), "deny:"+w.at("deny.json"))
			}
			w.admits("as the verb signs it")
		},
		"unsigned": func(w warden) {
			w.feed(1, "")
			w.denies("no signature", 1, reason.DenyFeedUnsigned)
		},
		"tampered": func(w warden) {
			w.issue(1, `, "digests": []`)
			w.admits("untouched")
			w.feed(1, `, "signers": []`)
			w.denies("other bytes", 1, reason.DenyFeedTampered)
			w.issue(2, "")
			raw, err := os.ReadFile(w.at(sig))
			if err != nil {
				w.t.Fatal(err)
			}
			_, text, found := strings.Cut(string(raw), `"signature":"`)
			if !found {
				w.t.Fatalf("%s", raw)
			}
			was := text[20:21]
			flipped := text[:20] + map[bool]string{true: "B", false: "A"}[was == "A"] + text[21:]
			w.write(sig, strings.Replace(string(raw), text, flipped, 1))
			w.denies("another signature", 1, reason.DenyFeedTampered)
		},
		"unproved": func(w warden) {
			w.issue(1, "")
			w.write(sig, "{}")
			w.denies("no bundle", 1, reason.DenyFeedUnproved)
		},
		"wrong-identity": func(w warden) {
			w.feed(1, "")
			w.sign("release") // whom the policy believes about images
			w.denies("the publisher's", 1, reason.DenyFeedWrongIdentity)
			w.sign("other")
			w.denies("a stranger's", 1, reason.DenyFeedWrongIdentity)
		},
		"stale": func(w warden) {
			w.issue(1, "")
			raw, err := os.ReadFile(w.at("deny.json"))
			if err != nil {
				w.t.Fatal(err)
			}
			year := time.Now().Year()
			w.write("deny.json", strings.ReplaceAll(string(raw), fmt.Sprint(`"`, year), fmt.Sprint(`"`, year-2)))
			w.sign("warden")
			w.denies("last year's", 4, reason.DenyFeedStale)
		},
		"rolled-back": func(w warden) {
			w.issue(7, "")
			w.admits("7")
			w.admits("7 again")
			w.issue(6, "")
			w.denies("6", 4, reason.FeedRolledBack)
			w.issue(8, "")
			w.admits("8")
			w.issue(7, "")
			w.denies("7 after 8", 4, reason.FeedRolledBack)
			if a := w.call("elsewhere", "verify", "--policy", w.at("policy.yaml"), w.image); a.status != 0 {
				w.t.Errorf("a host that never saw 8: %d %s", a.status, a.err)
			}
		},
		"rolled back while stale": func(w warden) {
			w.issue(7, "")
			w.admits("7")
			w.issue(6, fmt.Sprintf(`, "digests": [{"digest": "sha256:%064d", "reason": "x"}]`, 1))
			w.denies("6", 4, reason.FeedRolledBack)
		},
		"forked": func(w warden) {
			w.issue(7, "")
			w.admits("7")
			w.issue(7, `, "logs": []`)
			w.denies("another 7", 1, reason.DenyFeedForked)
			w.issue(8, `, "logs": []`)
			w.admits("8")
		},
		"another signer's serial": func(w warden) {
			w.issue(7, "")
			w.admits("7")
			w.write("policy.yaml", "identities: {release: {key: release.pub}}\ndenyFeed: {file: deny.json, by: [release]}\n"+
				"images: [{match: localhost/*, require: [{signature: {by: [release]}}]}]\n")
			w.feed(1, "")
			w.sign("release")
			w.admits("1 of another signer, who alone may sign now")
			w.write("policy.yaml", "identities: {release: {key: release.pub}, warden: {key: warden.pub}}\ndenyFeed: {file: deny.json, by: [release, warden]}\n"+
				"images: [{match: localhost/*, require: [{signature: {by: [release]}}]}]\n")
			w.denies("1, where both may", 4, reason.FeedRolledBack)
		},
		"memory": func(w warden) {
			w.issue(7, "")
			w.admits("7")
			names, err := filepath.Glob(w.at("zt/state/trust/feeds/*"))
			if err != nil || len(names) != 1 {
				w.t.Fatal(names, err)
			}
			good, err := os.ReadFile(names[0])
			if err != nil {
				w.t.Fatal(err)
			}
			moved := strings.Replace(string(good), w.at("deny.json"), "/elsewhere/deny.json", 1)
			if moved == string(good) {
				w.t.Fatalf("%s does not name the file", good)
			}
			for _, text := range []string{"", "{}", moved, strings.Replace(string(good), "/v1", "/v2", 1), strings.Replace(string(good), `"seen"`, `"Seen"`, 1),
				`{"schema": "ztlaunch.deny-seen/v1", "file": "` + w.at("deny.json") + `", "seen": []}`} {
				if err := os.WriteFile(names[0], []byte(text), 0o600); err != nil {
					w.t.Fatal(err)
				}
				w.denies("a memory of "+text, 3, reason.DenyFeedMemory)
			}
			remove(w, strings.TrimPrefix(names[0], w.dir+"/"))
			if err := os.RemoveAll(w.at("zt/state/trust/feeds")); err != nil {
				w.t.Fatal(err)
			}
			w.write("zt/state/trust/feeds", "no folder")
			w.denies("no place to remember", 3, reason.DenyFeedMemory)
		},
	} {
		t.Run(name, func(t *testing.T) { f(newWarden(t)) })
	}
}

// TestDenyFeedBeats takes back what a rule, an adoption and a lock allow.
func TestDenyFeedBeats(t *testing.T) {
	w := newWarden(t)
	w.issue(1, "")
	w.admits("before")
	var v struct {
		DenyFeed       uint64
		DenyFeedIssued string
		Subject        struct{ Digest, Config string }
	}
	if err := json.Unmarshal([]byte(w.verify().out), &v); err != nil || v.DenyFeed != 1 || v.DenyFeedIssued == "" {
		t.Fatalf("%+v %v", v, err)
	}
	if a := w.call("zt", "verify", "--policy", w.at("policy.yaml"), w.image); !strings.Contains(a.err, "feed      deny feed 1 of ") {
		t.Errorf("no feed in %s", a.err)
	}
	serial := 1
	for name, sum := range map[string]string{"manifest": v.Subject.Digest, "configuration": v.Subject.Config} {
		serial++
		w.issue(serial, fmt.Sprintf(`, "digests": [{"digest": %q, "reason": "a backdoor"}]`, sum))
		w.denies(name, 1, reason.DigestDenied)
	}
	serial++
	public, err := readKey(w.at("release.pub"))
	if err != nil {
		t.Fatal(err)
	}
	w.issue(serial, fmt.Sprintf(`, "signers": [{"key": %q, "reason": "a laptop was stolen"}]`, public.ID()))
	w.denies("signer", 1, reason.SignerDenied)

	// An adoption names the exact digest.
	policy, err := os.ReadFile(w.at("policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("policy.yaml", strings.Replace(string(policy), "{match: localhost/*,", "{match: localhost/good, digests: ["+v.Subject.Digest+"], reason: mine,", 1))
	serial++
	w.issue(serial, "")
	w.admits("adopted")
	serial++
	w.issue(serial, fmt.Sprintf(`, "digests": [{"digest": %q, "reason": "a backdoor"}]`, v.Subject.Digest))
	w.denies("adopted and denied", 1, reason.DigestDenied)
}

// TestDenyFeedOfModel denies a model by one of its files.
func TestDenyFeedOfModel(t *testing.T) {
	w := newWarden(t)
	if err := os.Mkdir(w.at("model"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write("model/weights.bin", "numbers")
	w.want(0, "sign", "--key", w.at("release.key"), "model:"+w.at("model"))
	w.write("policy.yaml", "identities: {release: {key: release.pub}, warden: {key: warden.pub}}\ndenyFeed: {file: deny.json, by: [warden]}\n"+
		"models: [{match: model, require: [{signature: {by: [release]}}]}]\n")
	w.image = "model:" + w.at("model")
	w.issue(1, "")
	w.admits("before")
	w.issue(2, fmt.Sprintf(`, "digests": [{"digest": %q, "reason": "poisoned"}]`, digest.FromString("numbers")))
	w.denies("a file", 1, reason.DigestDenied)
	if err := os.Remove(w.at("deny.json")); err != nil {
		t.Fatal(err)
	}
	w.denies("without the feed", 3, reason.DenyFeedAbsent)
}

// TestPolicyCheckFeed: a policy is right or wrong wherever its feed is; that it is
// not at hand is said.
func TestPolicyCheckFeed(t *testing.T) {
	w := newWarden(t)
	a := w.want(0, "policy", "check", w.at("policy.yaml"))
	if !strings.Contains(a.out, string(reason.DenyFeedAbsent)) {
		t.Errorf("%s", a.out)
	}
	w.issue(7, "")
	if a = w.want(0, "policy", "check", w.at("policy.yaml")); !strings.Contains(a.out, ", deny feed 7 of ") {
		t.Errorf("%s", a.out)
	}
	var v struct {
		Files []struct{ DenyFeed struct{ Serial uint64 } }
	}
	if err := json.Unmarshal([]byte(w.want(0, "policy", "check", "--json", w.at("policy.yaml")).out), &v); err != nil || len(v.Files) != 1 || v.Files[0].DenyFeed.Serial != 7 {
		t.Errorf("%+v %v", v, err)
	}
	w.issue(6, "")
	w.admits("what policy check saw is not remembered")
}

// TestFeedMemoryApart keeps a serial for each signer: two private authorities that
// issue one name are two, and neither makes the other's feed forgotten.
func TestFeedMemoryApart(t *testing.T) {
	by := func(authority string, serial uint64) policy.Feed {
		return policy.Feed{Serial: serial, Signer: evidence.Signer{Authority: authority, SAN: "warden@acme.example", SANType: "email"}}
	}
	m := feedMemory{}.with(by("sha256:a", 9)).with(by("sha256:b", 3)).with(by("sha256:b", 4))
	if !m.knows(by("sha256:a", 9)) || !m.knows(by("sha256:b", 4)) || m.knows(by("sha256:b", 3)) || len(m.Seen) != 2 {
		t.Errorf("%+v", m.Seen)
	}
}
