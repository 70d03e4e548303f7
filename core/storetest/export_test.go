package storetest

import (
	"testing"

	"github.com/gensession/gensession/core"
)

// A FaultCase is one subtest of [Faults].
type FaultCase struct{ Name, Rule string }

// FaultCases are all of them.
func FaultCases() (all []FaultCase) {
	for _, f := range faultCases {
		all = append(all, FaultCase{f.name, f.rule})
	}
	return all
}

// Run runs the case.
func (f FaultCase) Run(t testing.TB, s Server, newStore func(t testing.TB) (core.Store, func())) {
	for _, one := range faultCases {
		if one.name == f.Name {
			one.run(t, s, newStore)
		}
	}
}
