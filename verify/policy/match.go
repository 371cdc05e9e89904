package policy

import (
	"cmp"
	"slices"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
)

// match picks the largest set of claims in which each has an identity and a
// signer of its own: a bipartite matching of identities and signers, by
// augmenting paths.
func match(good []judged) []judged {
	// Among claims of one signer for one identity, the newest stands.
	slices.SortStableFunc(good, func(a, b judged) int {
		ta, _ := a.claim.Time()
		tb, _ := b.claim.Time()
		return tb.Compare(ta)
	})
	of := signers(good)
	holder := map[string]judged{} // signer -> the claim that it is used for
	var place func(identity int, seen map[string]bool) bool
	place = func(identity int, seen map[string]bool) bool {
		for _, j := range good {
			who := of[principal(j.claim.Signer())]
			if j.identity != identity || seen[who] {
				continue
			}
			seen[who] = true
			if held, taken := holder[who]; !taken || place(held.identity, seen) {
				holder[who] = j
				return true
			}
		}
		return false
	}
	done := map[int]bool{}
	for _, j := range good {
		if !done[j.identity] {
			done[j.identity] = true
			place(j.identity, map[string]bool{})
		}
	}
	var met []judged
	for _, j := range holder {
		met = append(met, j)
	}
	slices.SortFunc(met, func(a, b judged) int { return cmp.Compare(a.identity, b.identity) })
	return met
}

// signers groups the names of signers: two names are one signer if one key proved
// claims of both.
func signers(all []judged) map[string]string {
	group := map[string]string{} // a name or key -> one that stands for its group
	var top func(string) string
	top = func(s string) string {
		if up, ok := group[s]; ok && up != s {
			return top(up)
		}
		return s
	}
	for _, j := range all {
		a, b := top(principal(j.claim.Signer())), top(j.claim.Key())
		group[a], group[b] = a, a
	}
	out := map[string]string{}
	for _, j := range all {
		name := principal(j.claim.Signer())
		out[name] = top(name)
	}
	return out
}

// principal is one signer: a key, or a certificate name with who vouches for it.
func principal(s evidence.Signer) string {
	if s.Key != "" {
		return s.Key
	}
	return s.Authority + "\n" + s.Issuer + "\n" + s.SANType + "\n" + s.SAN
}
