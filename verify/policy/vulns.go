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

// Predicate types of vulnerability reports.
const (
	vulnerabilitiesV01  = vulnerabilitiesFamily + "/v0.1"
	vulnerabilitiesV02  = vulnerabilitiesFamily + "/v0.2"
	predicateCosignVuln = "https://cosign.sigstore.dev/attestation/vuln/v1"
)

// scanTypes are the reports that are read. The family's name alone is how its
// specification calls it.
var scanTypes = []string{vulnerabilitiesV02, vulnerabilitiesV01, vulnerabilitiesFamily, predicateCosignVuln}

// scan is what a vulnerability report says.
type scan struct {
	finished time.Time
	found    []weakness
}

type weakness struct {
	id       string
	severity string // one of severities, "negligible" or "unknown"
}

func readScan(predicateType string, raw json.RawMessage) (out scan, err error) {
	root, err := decodeObject(raw)
	if err != nil {
		return scan{}, err
	}
	var p parser
	if predicateType == predicateCosignVuln {
		out = p.scanCosign(root)
	} else {
		out = p.scanInToto(root)
	}
	return out, p.err
}

// scanInToto reads a report of in-toto's own (in-toto/attestation
// spec/predicates/vuln.md and vulns_02.md). v0.1 describes each vulnerability one
// object deeper than v0.2, and shows it in its example as v0.2 does.
func (p *parser) scanInToto(root object) (out scan) {
	out.finished = p.finished(root)
	scanner := p.object(root, "scanner", true)
	p.time(p.object(scanner, "db", false), "lastUpdate", false)
	for _, r := range p.list(scanner, "result", true) {
		if inner, nested := r["vulnerability"]; nested {
			o, isObject := inner.(map[string]any)
			if _, both := r["id"]; both || !isObject {
				p.fail("a result has both an id and a vulnerability, or one that is not an object")
			}
			r = o
		}
		w := weakness{id: p.text(r, "id", true), severity: "unknown"}
		for _, s := range p.list(r, "severity", false) {
			w.severity = worse(w.severity, severity(p.text(s, "method", false), s["score"]))
		}
		out.found = append(out.found, w)
	}
	return out
}

// finished is when a scan ended.
func (p *parser) finished(root object) time.Time {
	metadata := p.object(root, "metadata", true)
	p.span(metadata, "scanStartedOn", "scanFinishedOn")
	return p.time(metadata, "scanFinishedOn", true)
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
	if !slices.Contains(scanTypes, c.PredicateType()) {
		return time.Time{}, []fault{{reason.VulnerabilitiesUnsupported, words(scanTypes), clip(c.PredicateType()), "attest as " + scanTypes[0]}}
	}
	s, err := readScan(c.PredicateType(), c.Predicate())
	if err == nil && s.finished.After(now.Add(skew)) {
		err = fmt.Errorf("scanFinishedOn %s is in the future", stamp(s.finished))
	}
	if err != nil {
		return time.Time{}, []fault{{reason.VulnerabilitiesMalformed, "a vulnerability report of type " + c.PredicateType(), clip(err.Error()), "scan and attest anew"}}
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
func (x expression) judge(c evidence.Claim, at, now time.Time) []fault {
	if x.program.Zero() {
		return nil
	}
	v, err := decode(c.Predicate())
	if err != nil {
		return []fault{{reason.ConditionError, x.source, clip(err.Error()), "attest anew"}}
	}
	st := cel.Statement{PredicateType: c.PredicateType(), Predicate: v, Subject: c.Subject().String()}
	for _, s := range c.Subjects() {
		st.Subjects = append(st.Subjects, cel.Subject{Name: s.Name, Digest: s.SHA256.String()})
	}
	signer := c.Signer()
	st.Signer = cel.Signer{Key: signer.Key, Issuer: signer.Issuer, SAN: signer.SAN, SANType: signer.SANType,
		Repository: signer.SourceRepositoryURI, Ref: signer.SourceRepositoryRef, Workflow: signer.BuildConfigURI,
		Trigger: signer.BuildTrigger, Runner: signer.RunnerEnvironment}
	st.SignedAt = at
	held, err := x.program.Holds(st, now)
	switch {
	case errors.Is(err, cel.ErrCost):
		return []fault{{reason.ConditionCost, x.source, clip(err.Error()), "ask for less: without loops inside of loops"}}
	case err != nil:
		return []fault{{reason.ConditionError, x.source, clip(err.Error()), "guard the member with has(...)"}}
	case !held:
		return []fault{{reason.ConditionFalse, x.source, "false", "meet the condition, and attest anew"}}
	}
	return nil
}
