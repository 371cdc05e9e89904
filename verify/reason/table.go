package reason

import (
	"cmp"
	"slices"
)

// Row is one line of the published table of reason codes.
type Row struct {
	Code  Code
	Class Class
	Means string // one sentence, for the person who was refused
	Test  string // the test that shows it: "verify/fetch TestCorrupt/layer-flip"
}

// tables lists each package's rows; one file of this package per package that
// refuses things.
func tables() [][]Row {
	return [][]Row{
		generalRows,
		trustRows,
		signRows,
		evidenceRows,
		stepsRows,
		auditRows,
		treeRows,
		rootfsRows,
		runcRows,
		keeperRows,
		hostRows,
		artifactRows,
		contentRows,
		fetchRows,
		modelRows,
		monitorRows,
		mcpRows,
		egressRows,
		sbomRows,
		policyRows,
		lintRows,
		feedRows,
		admitRows,
		formRows,
		planRows,
	}
}

// Table is every code, sorted.
func Table() []Row {
	all := slices.Concat(tables()...)
	slices.SortFunc(all, func(a, b Row) int { return cmp.Compare(a.Code, b.Code) })
	return all
}

// Means is the row's sentence about the code, or "" for one that is not listed.
func (c Code) Means() string {
	for _, rows := range tables() {
		for _, r := range rows {
			if r.Code == c {
				return r.Means
			}
		}
	}
	return ""
}
