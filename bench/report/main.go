// Command report makes RESULTS.md and its charts of what the benchmarks
// printed. make bench calls it; by itself:
//
//	go run . ../tmp ..        in this folder
//
// The first argument is the folder of the outputs, a file for each part, with
// one round of the benchmarks after the other. Where a part is missing, so are
// its tables. It is a module of its own, so that what draws the charts never
// reaches users.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "report OUTPUTS RESULTS: two folders")
		os.Exit(2)
	}
	if err := report(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func report(from, to string) error {
	r, err := readResults(from)
	if err != nil {
		return err
	}
	if r.trips, err = kept(filepath.Join(to, "RESULTS.md")); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := r.write(&text); err != nil {
		return err
	}
	if err := r.draw(filepath.Join(to, "charts")); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "RESULTS.md"), text.Bytes(), 0o644)
}

// What a test has written into the results is between these lines, and stays.
const tripsBegin, tripsEnd = "<!-- round trips: bench/trips_test.go writes them with UPDATE=1 -->\n", "<!-- end of round trips -->\n"

// kept is what the results in file have between these lines.
func kept(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	_, rest, _ := strings.Cut(string(text), tripsBegin)
	trips, _, ok := strings.Cut(rest, tripsEnd)
	if err == nil && !ok {
		err = fmt.Errorf("%s has no table of round trips", file)
	}
	return trips, err
}
