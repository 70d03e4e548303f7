package openstore_test

import (
	"os"
	"strings"
	"testing"

	"github.com/gensession/gensession/examples/internal/openstore"
)

// The command gensession has a test of the same list: it takes the URLs that the
// examples take.
func TestURLs(t *testing.T) {
	list, err := os.ReadFile("testdata/urls.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		want, url, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if err := openstore.Check(url); (err == nil) != (want == "yes") {
			t.Errorf("%q: %v, and the list says %s", url, err, want)
		}
	}
	if err := openstore.Check("memory"); err != nil {
		t.Error(err)
	}
	for url := range strings.SplitSeq(strings.ReplaceAll(openstore.Help, " or ", ", "), ", ") {
		if err := openstore.Check(url); err != nil {
			t.Errorf("the help names %q: %v", url, err)
		}
	}
}
