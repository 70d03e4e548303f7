package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// What a test has written into the results is between these lines, and stays.
const tripsBegin, tripsEnd = "<!-- round trips: bench/trips_test.go writes them with UPDATE=1 -->\n", "<!-- end of round trips -->\n"

// old is what the results have from runs before, also what was put in by hand.
type old struct {
	trips    string            // the table of round trips, which a test writes
	run      string            // when, and on which machine
	sections map[string]string // by their heading
	goals    map[string]answered
}

type answered struct{ measured, answer string }

// partOf is the part that a section is made of. One that has none is always made.
var partOf = map[string]string{
	"Requests beside other libraries": peers,
	"Redis a millisecond away":        peers,
	"Adapters and stores":             requests,
	"Who watches, and sealing":        requests,
	"Stores":                          stores,
	"Databases":                       tables,
	"Scale":                           scale,
	"The size of a session":           peers,
	"Whole servers":                   load,
}

// readOld reads the results in file. There may be none.
func readOld(file string) (old, error) {
	o := old{sections: make(map[string]string), goals: make(map[string]answered)}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	_, rest, _ := strings.Cut(string(text), tripsBegin)
	trips, _, ok := strings.Cut(rest, tripsEnd)
	if !ok {
		return o, fmt.Errorf("%s has no table of round trips", file)
	}
	o.trips = trips
	head, all := sections(string(text))
	for line := range strings.Lines(head) {
		line = strings.TrimSuffix(line, "\n")
		if when, ok := strings.CutPrefix(line, written); ok {
			o.run = strings.TrimSuffix(when, ".")
		} else if machine, ok := strings.CutPrefix(line, "- Machine: "); ok {
			o.run += ", " + machine
		}
	}
	last := ""
	for _, s := range all {
		o.sections[s.heading] = s.text
		if s.heading != "Goals" {
			continue
		}
		for line := range strings.Lines(s.text) {
			if cells := strings.Split(strings.Trim(line, "| \n"), " | "); len(cells) == 4 && cells[3] != "?" {
				o.goals[goalKey(&last, cells[0], cells[1])] = answered{cells[2], strings.TrimSuffix(cells[3], before) + before}
			} else if len(cells) == 4 {
				goalKey(&last, cells[0], cells[1])
			}
		}
	}
	return o, nil
}

// written begins the line of the results that says when they were made.
const written = "Written by `make bench`; don't edit. "

// before is in the answer to a goal that an earlier run gave.
const before = ", before"

// goalKey tells a goal from the others. Those that begin with … belong to the last that
// does not.
func goalKey(last *string, what, want string) string {
	if !strings.HasPrefix(what, "…") {
		*last = what
	}
	return *last + "|" + what + "|" + want
}

type section struct{ heading, text string }

// sections returns what is before the first heading of the second level, and then what
// is below each.
func sections(text string) (head string, all []section) {
	head, rest, _ := strings.Cut(text, "\n## ")
	for s := range strings.SplitSeq(rest, "\n## ") {
		if heading, below, ok := strings.Cut(s, "\n"); ok {
			all = append(all, section{heading, below})
		}
	}
	return head, all
}

// kept begins a section that is from an earlier run.
const kept = "\nNot measured by the last run; as it was in the results of "

// keep returns the new results with the old sections of parts that were not measured,
// so that a run of one part leaves the others. A section that was never there is left
// out.
func (r *results) keep(text string) string {
	head, all := sections(text)
	for _, s := range all {
		if part := partOf[s.heading]; part != "" && r.rounds[part] == 0 {
			was, ok := r.old.sections[s.heading]
			if !ok {
				continue
			}
			if !strings.HasPrefix(was, kept) {
				was = kept + r.old.run + ".\n" + was
			}
			s.text = was
		}
		head = strings.TrimSuffix(head, "\n") + "\n\n## " + s.heading + "\n" + s.text
	}
	return strings.TrimSuffix(head, "\n") + "\n"
}
