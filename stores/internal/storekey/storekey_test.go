package storekey_test

import (
	"strings"
	"testing"

	"github.com/gensession/gensession/stores/internal/storekey"
)

func TestValid(t *testing.T) {
	for key, want := range map[string]bool{
		"": false, "a": true, "koa:sess:~!": true, strings.Repeat("k", 250): true, strings.Repeat("k", 251): false,
		"a b": false, "a\n": false, "\x7f": false, "ä": false,
	} {
		if storekey.Valid(key) != want {
			t.Errorf("Valid(%q) is %t", key, !want)
		}
	}
}
