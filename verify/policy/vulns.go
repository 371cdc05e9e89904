package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/policy/cel"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// severities are the words of a vulnerabilities demand, worst first.
var severities = [...]string{"critical", "high", "medium", "low"}

// skew is how far two honest clocks may differ.
const skew = 5 * time.Minute

// scan is an in-toto vulnerability report, v0.1 or v0.2
// (in-toto/attestation spec/predicates/vuln.md).
type scan struct {
	finished time.Time
	found    []weakness
}

type weakness struct {
	id       string
	severity string // one of severities, or "unknown"
}

func readScan(raw json.RawMessage) (out scan, err error) {
	v, err := decode(raw)
	if err != nil {
		return scan{}, err
	}
	root, ok := v.(map[string]any)
	if !ok {
		return scan{}, errors.New("the predicate is not an object")
	}
	var p parser
	finished := p.text(p.object(root, "metadata", true), "scanFinishedOn", true)
	for _, r := range p.list(p.object(root, "scanner", true), "result", true) {
		w := weakness{id: p.text(r, "id", true), severity: "unknown"}
		for _, s := range p.list(r, "severity", false) {
			w.severity = worse(w.severity, severity(p.text(s, "method", false), s["score"]))
		}
		out.found = append(out.found, w)
	}
	if p.err == nil {
		out.finished, p.err = time.Parse(time.RFC3339, finished)
	}
	return out, p.err
}

// severity reads a score: a word, or a CVSS v3 base score.
func severity(method string, score any) string {
	var n float64
	switch s := score.(type) {
	case string:
		if low := strings.ToLower(s); slices.Contains(severities[:], low) {
			return low
		}
		var err error
		if n, err = strconv.ParseFloat(s, 64); err != nil {
			return "unknown"
		}
	case int64:
		n = float64(s)
	case float64:
		n = s
	}
	if !strings.Contains(strings.ToLower(method), "cvss") && strings.ToLower(method) != "nvd" {
		return "unknown"
	}
	switch {
	case n >= 9 && n <= 10:
		return "critical"
	case n >= 7 && n < 9:
		return "high"
	case n >= 4 && n < 7:
		return "medium"
	case n > 0 && n < 4:
		return "low"
	}
	return "unknown"
}

// worse is the worse of two severities; one that is known beats unknown.
func worse(a, b string) string {
	for _, s := range severities {
		if a == s || b == s {
			return s
		}
	}
	return a
}

// scanned holds a vulnerability report against a demand: no weakness of a denied
// severity, none of unknown severity, and a scan no older than maxAge. The time
// is the signer's word, like the rest of the report.
func (d demand) scanned(c evidence.Claim, now time.Time) (until time.Time, out []fault) {
	s, err := readScan(c.Predicate())
	if err == nil && s.finished.After(now.Add(skew)) {
		err = fmt.Errorf("scanFinishedOn %s is in the future", stamp(s.finished))
	}
	if err != nil {
		return time.Time{}, []fault{{reason.VulnerabilitiesMalformed, "an in-toto vulnerability report", clip(err.Error()), "scan and attest anew"}}
	}
	if now.Sub(s.finished) > d.maxAge {
		out = append(out, fault{reason.ClaimTooOld, "a scan at most " + span(d.maxAge) + " old at " + stamp(now), "finished " + stamp(s.finished), "scan and attest anew"})
	}
	var denied []string
	for _, w := range s.found {
		if w.severity == "unknown" || slices.Contains(d.severities, w.severity) {
			denied = append(denied, fmt.Sprintf("%s (%s)", clip(w.id), w.severity))
		}
	}
	if denied != nil {
		out = append(out, fault{reason.VulnerabilityDenied, "none that is " + words(d.severities) + " or of unknown severity", some(denied), "update what the report names, and build anew"})
	}
	return s.finished.Add(d.maxAge), out
}

// judge evaluates the condition of an attestation demand.
func (x expression) judge(c evidence.Claim, now time.Time) []fault {
	if x.program.Zero() {
		return nil
	}
	v, err := decode(c.Predicate())
	if err != nil {
		return []fault{{reason.ConditionError, x.source, clip(err.Error()), "attest anew"}}
	}
	at, _ := c.Time()
	return condition(x.program, x.source, v, now, at)
}

func condition(p cel.Program, source string, predicate any, now, at time.Time) []fault {
	switch held, err := p.Holds(predicate, now, at); {
	case err != nil:
		return []fault{{reason.ConditionError, source, clip(err.Error()), "guard the member with has(...)"}}
	case !held:
		return []fault{{reason.ConditionFalse, source, "false", "meet the condition, and attest anew"}}
	}
	return nil
}
