// Command report makes RESULTS.md and its charts of what the benchmarks
// printed. make bench calls it; by itself:
//
//	go run . ../tmp ..        in this folder
//
// The first argument is the folder of the outputs, a file for each part, with
// one round of the benchmarks after the other. Where a part is missing, its
// sections, goals and charts stay as they are in RESULTS.md. It is a module of its own, so that what draws the charts never
// reaches users.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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
	if r.old, err = readOld(filepath.Join(to, "RESULTS.md")); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := r.write(&text); err != nil {
		return err
	}
	if err := r.draw(filepath.Join(to, "charts")); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "RESULTS.md"), []byte(r.keep(text.String())), 0o644)
}
