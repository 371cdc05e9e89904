package policy

import (
	"fmt"
	"strings"
	"testing"
)

// cosignScan is cosign's report around a scanner's result.
func cosignScan(result string) string {
	return `{"invocation": {"parameters": null}, "scanner": {"uri": "x", "result": ` + result + `},
		"metadata": {"scanStartedOn": "2026-05-31T11:00:00Z", "scanFinishedOn": "2026-05-31T12:00:00Z"}}`
}

// TestScanners reads the results of the three scanners that cosign's report may
// hold, and nothing else.
func TestScanners(t *testing.T) {
	const trivy = `{"SchemaVersion": 2, "Results": [%s]}`
	const grype = `{"matches": [%s], "descriptor": {"name": "grype"}}`
	const sarif = `{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x", "rules": [%s]}}, "results": [%s]}]}`
	rule := func(id, grade string) string {
		return `{"id": "` + id + `", "properties": {"security-severity": ` + grade + `}}`
	}
	for _, c := range []struct{ name, result, want string }{ // want "!" = refused
		{"trivy-none", fmt.Sprintf(trivy, ``), ""},
		{"trivy-clean-target", fmt.Sprintf(trivy, `{"Target": "os"}, {"Target": "go", "Vulnerabilities": null}, {"Vulnerabilities": []}`), ""},
		{"trivy", fmt.Sprintf(trivy, `{"Vulnerabilities": [{"VulnerabilityID": "A", "Severity": "HIGH"}, {"VulnerabilityID": "B", "Severity": "UNKNOWN"}]}, {"Vulnerabilities": [{"VulnerabilityID": "C", "Severity": "LOW"}]}`), "A high, B unknown, C low"},
		{"trivy-no-results", `{"SchemaVersion": 2}`, "!"},
		{"trivy-null-results", `{"SchemaVersion": 2, "Results": null}`, "!"},
		{"trivy-version", `{"SchemaVersion": 3, "Results": []}`, "!"},
		{"trivy-version-text", `{"SchemaVersion": "2", "Results": []}`, "!"},
		{"trivy-severity-case", fmt.Sprintf(trivy, `{"Vulnerabilities": [{"VulnerabilityID": "A", "Severity": "High"}]}`), "!"},
		{"trivy-no-severity", fmt.Sprintf(trivy, `{"Vulnerabilities": [{"VulnerabilityID": "A"}]}`), "!"},
		{"trivy-no-id", fmt.Sprintf(trivy, `{"Vulnerabilities": [{"Severity": "HIGH"}]}`), "!"},
		{"trivy-object", fmt.Sprintf(trivy, `{"Vulnerabilities": {"VulnerabilityID": "A", "Severity": "HIGH"}}`), "!"},

		{"grype-none", fmt.Sprintf(grype, ``), ""},
		{"grype", fmt.Sprintf(grype, `{"vulnerability": {"id": "A", "severity": "Critical"}}, {"vulnerability": {"id": "B", "severity": "Negligible"}}, {"vulnerability": {"id": "C", "severity": "Unknown"}}`), "A critical, B negligible, C unknown"},
		{"grype-other-tool", `{"matches": [], "descriptor": {"name": "other"}}`, "!"},
		{"grype-no-tool", `{"matches": []}`, "!"},
		{"grype-null", `{"matches": null, "descriptor": {"name": "grype"}}`, "!"},
		{"grype-severity", fmt.Sprintf(grype, `{"vulnerability": {"id": "A", "severity": "critical"}}`), "!"},
		{"grype-no-vulnerability", fmt.Sprintf(grype, `{"id": "A"}`), "!"},

		{"sarif-none", fmt.Sprintf(sarif, ``, ``), ""},
		{"sarif", fmt.Sprintf(sarif, rule("A", `"9.8"`)+`, `+rule("B", `"4.0"`)+`, `+rule("C", `7`)+`, `+rule("D", `"?"`)+`, {"id": "E"}`, `{"ruleId": "A"}, {"ruleId": "B"}, {"ruleId": "A", "suppressions": [{}]}, {"ruleId": "C"}, {"ruleId": "D"}, {"ruleId": "E"}`),
			"A critical, B medium, A critical, C high, D unknown, E unknown"},
		{"sarif-version", `{"version": "2.0.0", "runs": [{"tool": {"driver": {}}, "results": []}]}`, "!"},
		{"sarif-no-runs", `{"version": "2.1.0", "runs": []}`, "!"},
		{"sarif-no-results", `{"version": "2.1.0", "runs": [{"tool": {"driver": {}}}]}`, "!"},
		{"sarif-null-results", `{"version": "2.1.0", "runs": [{"tool": {"driver": {}}, "results": null}]}`, "!"},
		{"sarif-other-rule", fmt.Sprintf(sarif, rule("A", `"1.0"`), `{"ruleId": "B"}`), "!"},
		{"sarif-no-rule", fmt.Sprintf(sarif, rule("A", `"1.0"`), `{"ruleIndex": 0}`), "!"},
		{"sarif-rule-twice", fmt.Sprintf(sarif, rule("A", `"9.8"`)+`, `+rule("A", `"1.0"`), `{"ruleId": "A"}`), "!"},
		{"sarif-no-tool", `{"version": "2.1.0", "runs": [{"results": []}]}`, "!"},

		{"none-of-them", `{"vulnerabilities": []}`, "!"},
		{"two-of-them", `{"SchemaVersion": 2, "Results": [], "matches": []}`, "!"},
		{"list", `[]`, "!"},
		{"null", `null`, "!"},
		{"text", `"none found"`, "!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := readScan(predicateCosignVuln, []byte(cosignScan(c.result)))
			if c.want == "!" {
				if err == nil {
					t.Errorf("read as %+v", s)
				}
				return
			}
			var got []string
			for _, w := range s.found {
				got = append(got, w.id+" "+w.severity)
			}
			if err != nil || strings.Join(got, ", ") != c.want || s.finished.IsZero() {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
	for name, text := range map[string]string{
		"no-time":        strings.Replace(cosignScan(`{"matches": [], "descriptor": {"name": "grype"}}`), "scanFinishedOn", "scanDone", 1),
		"ends-too-early": strings.Replace(cosignScan(`{"matches": [], "descriptor": {"name": "grype"}}`), "T12", "T10", 1),
		"scanners":       strings.Replace(cosignScan(`{"matches": [], "descriptor": {"name": "grype"}}`), `"scanner"`, `"scanners"`, 1),
	} {
		if s, err := readScan(predicateCosignVuln, []byte(text)); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// TestScanInToto reads both versions of in-toto's report; one that is of both is
// of neither.
func TestScanInToto(t *testing.T) {
	for result, want := range map[string]string{
		`{"id": "A", "severity": [{"method": "nvd", "score": "high"}]}`:                       "A high",
		`{"vulnerability": {"id": "A", "severity": [{"method": "cvss", "score": "9.1"}]}}`:    "A critical",
		`{"vulnerability": {"id": "A"}}`:                                                      "A unknown",
		`{"id": "A", "vulnerability": {"id": "B", "severity": []}}`:                           "!",
		`{"vulnerability": "A"}`:                                                              "!",
		`{"vulnerability": null}`:                                                             "!",
		`{"vulnerability": {"severity": []}}`:                                                 "!",
		`{"id": "A", "severity": {"method": "nvd", "score": "high"}}`:                         "!",
		`{"id": "A", "severity": [{"method": "nvd", "score": "low"}, {"score": "critical"}]}`: "A critical",
	} {
		text := `{"scanner": {"result": [` + result + `]}, "metadata": {"scanFinishedOn": "2026-05-31T12:00:00Z"}}`
		s, err := readScan(vulnerabilitiesV01, []byte(text))
		switch {
		case want == "!" && err == nil:
			t.Errorf("%s: read as %+v", result, s)
		case want != "!" && (err != nil || len(s.found) != 1 || s.found[0].id+" "+s.found[0].severity != want):
			t.Errorf("%s: %+v, %v; want %s", result, s, err, want)
		}
	}
}

// FuzzBuild: any predicate of either version is read as one build or refused, and
// what is read is of the place that it names.
func FuzzBuild(f *testing.F) {
	for _, predicateType := range provenanceTypes {
		f.Add([]byte(good[predicateType]), predicateType == provenanceTypes[1])
	}
	f.Add([]byte(`{"buildDefinition":{"buildType":"`+buildkit+`","externalParameters":{"configSource":{"uri":"https://a/b.git#c:d"}}},"runDetails":{"builder":{"id":"x"}}}`), false)
	f.Add([]byte(`{"builder":{"id":"x"},"buildType":"`+githubWorkflow0+`","invocation":{"configSource":{"uri":"git+https://a/b@c","entryPoint":"d"},"parameters":null}}`), true)
	terms := buildTerms{source: "a.example/r", ref: "refs/tags/v*", builder: "https://ci.example/x"}
	f.Fuzz(func(t *testing.T, raw []byte, old bool) {
		predicateType := provenanceTypes[0]
		if old {
			predicateType = provenanceTypes[1]
		}
		b, err := readBuild(predicateType, raw)
		if err != nil {
			if WellFormed(predicateType, raw) == nil {
				t.Fatal("well-formed, and not to be read")
			}
			return
		}
		if b.buildType == "" || b.builder == "" {
			t.Fatalf("read as %+v", b)
		}
		if strings.Contains(strings.SplitN(b.origin.repository, "/", 2)[0], "@") || b.origin.repository == "" && b.origin.ref != "" {
			t.Fatalf("from %+v", b.origin)
		}
		if faults := terms.held(b, genuine(), func(Identity) bool { return true }); len(faults) == 0 {
			t.Fatalf("a build by nobody of GitHub's is that of a certificate: %+v", b)
		}
	})
}

// FuzzScan: any report is read or refused, and each weakness has an id and a grade
// that is known or unknown.
func FuzzScan(f *testing.F) {
	f.Add([]byte(good[vulnerabilitiesV01]), false)
	f.Add([]byte(good[vulnerabilitiesV02]), false)
	f.Add([]byte(good[predicateCosignVuln]), true)
	f.Add([]byte(cosignScan(`{"matches": [{"vulnerability": {"id": "A", "severity": "Low"}}], "descriptor": {"name": "grype"}}`)), true)
	f.Add([]byte(cosignScan(`{"version": "2.1.0", "runs": [{"tool": {"driver": {"rules": [{"id": "A", "properties": {"security-severity": "1.5"}}]}}, "results": [{"ruleId": "A"}]}]}`)), true)
	f.Fuzz(func(t *testing.T, raw []byte, cosign bool) {
		predicateType := vulnerabilitiesV02
		if cosign {
			predicateType = predicateCosignVuln
		}
		s, err := readScan(predicateType, raw)
		if err != nil {
			return
		}
		if s.finished.IsZero() && !strings.Contains(string(raw), "0001-01-01") {
			t.Fatal("a scan that never ended")
		}
		for _, w := range s.found {
			if w.id == "" || !strings.Contains(" critical high medium low negligible unknown ", " "+w.severity+" ") {
				t.Fatalf("weakness %+v", w)
			}
		}
	})
}

// FuzzKnown: any predicate of any known type is read without harm, and one that is
// no object is refused.
func FuzzKnown(f *testing.F) {
	types := []string{predicateVSA, predicateTestResult, predicateSVR1, predicateSVR2, predicateRelease1, predicateSCAI3}
	for i, predicateType := range types {
		f.Add([]byte(good[predicateType]), uint8(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, i uint8) {
		v, err := read(types[int(i)%len(types)], raw)
		if trimmed := strings.TrimLeft(string(raw), " \t\r\n"); err == nil && !strings.HasPrefix(trimmed, "{") {
			t.Fatalf("%q is read as %+v", raw, v)
		}
	})
}
