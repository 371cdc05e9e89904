package steps

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Supposition is a layout as it might have proved, for a policy's own tests.
type Supposition struct {
	Signers  []string // trust.Key IDs
	Steps    []Step   // in the order of the layout
	Products map[string]digest.Digest
	Until    time.Time // when it expires
}

// Suppose makes an Outcome that nobody proved. It is marked for good (Supposed),
// and whatever decides for real refuses it; it serves to ask what a policy would
// say. Like a layout that proves it has a signer, a step and an end.
func Suppose(s Supposition) (Outcome, error) {
	switch {
	case len(s.Signers) == 0:
		return Outcome{}, errors.New("suppose a layout: no signer")
	case len(s.Steps) == 0:
		return Outcome{}, errors.New("suppose a layout: no step")
	case s.Until.IsZero():
		return Outcome{}, errors.New("suppose a layout: no end")
	}
	for name, sum := range s.Products {
		if err := sum.Validate(); err != nil {
			return Outcome{}, fmt.Errorf("suppose the product %.80q: %w", name, err)
		}
	}
	o := Outcome{layout: digest.FromString(fmt.Sprintf("ztlaunch.supposed/v1\n%+v", s)), signers: slices.Compact(slices.Sorted(slices.Values(s.Signers))),
		products: maps.Clone(s.Products), until: s.Until.UTC(), supposed: true}
	o.steps = Outcome{steps: s.Steps}.Steps()
	for _, step := range o.steps {
		slices.Sort(step.Functionaries)
		if distinct := slices.Compact(slices.Clone(step.Functionaries)); step.Threshold < 1 || len(distinct) < step.Threshold {
			return Outcome{}, fmt.Errorf("suppose the step %.80q: %d functionaries for a threshold of %d", step.Name, len(distinct), step.Threshold)
		}
	}
	return o, nil
}

// Supposed says that Suppose made the outcome: nothing was proved.
func (o Outcome) Supposed() bool { return o.supposed }
