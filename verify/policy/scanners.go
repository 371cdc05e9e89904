package policy

import (
	"slices"
	"strings"
)

// scanCosign reads cosign's own report (sigstore/cosign
// specs/COSIGN_VULN_ATTESTATION_SPEC.md, with one scanner, as cosign and Trivy
// write it). The result is the scanner's own; three of them are read, each known
// by the one member that the others lack:
//
//	SchemaVersion  Trivy's JSON, version 2: Results[].Vulnerabilities[].{VulnerabilityID, Severity}
//	matches        Grype's JSON: matches[].vulnerability.{id, severity}, descriptor.name "grype"
//	runs           SARIF 2.1.0: runs[].results[].ruleId, and the property security-severity,
//	               a CVSS score, of that rule in runs[].tool.driver.rules
//
// The list of results must be there, empty when nothing was found. Anything else
// is no report.
func (p *parser) scanCosign(root object) (out scan) {
	out.finished = p.finished(root)
	result := p.object(p.object(root, "scanner", true), "result", true)
	marks := [...]string{"SchemaVersion", "matches", "runs"}
	var of []string
	for _, m := range marks {
		if _, is := result[m]; is {
			of = append(of, m)
		}
	}
	if len(of) != 1 {
		p.fail("result is of none of the scanners that are read: one of %s marks them", strings.Join(marks[:], ", "))
		return out
	}
	switch of[0] {
	case "SchemaVersion":
		out.found = p.trivy(result)
	case "matches":
		out.found = p.grype(result)
	case "runs":
		out.found = p.sarif(result)
	}
	return out
}

func (p *parser) trivy(o object) (out []weakness) {
	if o["SchemaVersion"] != int64(2) {
		p.fail("SchemaVersion is not 2")
	}
	for _, target := range p.list(o, "Results", true) {
		for _, v := range p.list(target, "Vulnerabilities", false) {
			out = append(out, weakness{p.text(v, "VulnerabilityID", true), p.graded(v, "Severity", "CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN")})
		}
	}
	return out
}

func (p *parser) grype(o object) (out []weakness) {
	if name := p.text(p.object(o, "descriptor", true), "name", true); p.err == nil && name != "grype" {
		p.fail("descriptor names %s", clip(name))
	}
	for _, match := range p.list(o, "matches", true) {
		v := p.object(match, "vulnerability", true)
		out = append(out, weakness{p.text(v, "id", true), p.graded(v, "severity", "Critical", "High", "Medium", "Low", "Negligible", "Unknown")})
	}
	return out
}

// graded is a severity out of a scanner's own words.
func (p *parser) graded(o object, name string, words ...string) string {
	got := p.text(o, name, true)
	if p.err == nil && !slices.Contains(words, got) {
		p.fail("%s is %s, which is none of %s", name, clip(got), strings.Join(words, ", "))
	}
	return strings.ToLower(got)
}

func (p *parser) sarif(o object) (out []weakness) {
	if v := p.text(o, "version", true); p.err == nil && v != "2.1.0" {
		p.fail("version is %s, not 2.1.0", clip(v))
	}
	runs := p.list(o, "runs", true)
	if len(runs) == 0 {
		p.fail("runs is empty")
	}
	for _, run := range runs {
		grades := map[string]string{}
		for _, rule := range p.list(p.object(p.object(run, "tool", true), "driver", true), "rules", false) {
			id := p.text(rule, "id", true)
			if _, twice := grades[id]; twice {
				p.fail("rules holds %s twice", clip(id))
			}
			grades[id] = severity("cvss", p.object(rule, "properties", false)["security-severity"])
		}
		for _, r := range p.list(run, "results", true) {
			id := p.text(r, "ruleId", true)
			grade, known := grades[id]
			if !known {
				p.fail("a result names no rule of its run: %s", clip(id))
			}
			out = append(out, weakness{id, grade})
		}
	}
	return out
}
