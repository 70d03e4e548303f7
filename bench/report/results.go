package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// The parts are the files of outputs.
const (
	stores   = "stores"
	tables   = "databases"
	requests = "requests"
	peers    = "peers"
	scale    = "scale"
	load     = "load"
)

var parts = []string{stores, tables, requests, peers, scale, load}

// The units, as benchfmt makes them of ns/op and so on.
const (
	seconds = "sec/op"
	allocs  = "allocs/op"
)

// A measure is one number of one benchmark.
type measure struct{ part, name, unit string }

// results are all that was measured.
type results struct {
	samples map[measure][]float64 // one a round
	config  map[string]string     // what the outputs say about the machine, such as cpu
	rounds  map[string]int        // of each part
	notes   []string              // what could not be measured
	old     old                   // what the results have from runs before
}

func readResults(dir string) (*results, error) {
	r := &results{samples: make(map[measure][]float64), config: make(map[string]string), rounds: make(map[string]int)}
	for _, part := range parts {
		err := r.read(part, filepath.Join(dir, part+".txt"))
		if os.IsNotExist(err) {
			r.notes = append(r.notes, "not measured: "+part)
		} else if err != nil {
			return nil, err
		}
	}
	if len(r.samples) == 0 {
		return nil, fmt.Errorf("no results in %s", dir)
	}
	return r, nil
}

func (r *results) read(part, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	in := benchfmt.NewReader(f, file)
	for in.Scan() {
		res, ok := in.Result().(*benchfmt.Result)
		if !ok {
			continue // a line of something else
		}
		for _, c := range res.Config {
			r.config[c.Key] = strings.TrimSpace(string(c.Value))
		}
		base, keys := res.Name.Parts()
		name := string(base)
		for _, k := range keys {
			if k[0] != '-' { // the number of processors
				name += string(k)
			}
		}
		for _, v := range res.Values {
			m := measure{part, name, v.Unit}
			r.samples[m] = append(r.samples[m], v.Value)
			r.rounds[part] = max(r.rounds[part], len(r.samples[m]))
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return r.readNotes(f)
}

func (r *results) readNotes(f *os.File) error {
	if _, err := f.Seek(0, 0); err != nil {
		return err
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, "not measured: ") && !slices.Contains(r.notes, line) {
			r.notes = append(r.notes, line)
		}
	}
	return lines.Err()
}

// at is the median of a measure, and whether there is any.
func (r *results) at(part, name, unit string) (float64, bool) {
	return median(r.samples[measure{part, name, unit}])
}

// quotient is the median of what the rounds say by themselves, for two measures
// of one benchmark: what is different from round to round is the same in both.
func (r *results) quotient(a, b measure) (float64, bool) {
	as, bs := r.samples[a], r.samples[b]
	var all []float64
	for i := range min(len(as), len(bs)) {
		all = append(all, as[i]/bs[i])
	}
	return median(all)
}

func median(all []float64) (float64, bool) {
	n := len(all)
	if n == 0 {
		return 0, false
	}
	all = slices.Sorted(slices.Values(all))
	return (all[(n-1)/2] + all[n/2]) / 2, true
}

// spread is how far apart the rounds of a benchmark ordinarily are, as a part
// of their median.
func (r *results) spread(part string) float64 {
	var all []float64
	for m, s := range r.samples {
		if m.part == part && m.unit == seconds && len(s) > 1 {
			middle, _ := r.at(m.part, m.name, m.unit)
			all = append(all, (slices.Max(s)-slices.Min(s))/middle)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}
