package duration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/stores/internal/duration"
)

func TestW31Check(t *testing.T) {
	twice := time.Duration(7200) * time.Second
	twice *= time.Second
	for _, c := range []struct {
		d    time.Duration
		want string // "" for fine
	}{
		{0, ""}, {time.Millisecond, ""}, {time.Second, ""}, {time.Hour, ""},
		{-1, "negative"}, {-time.Hour, "negative"}, {-1 << 63, "negative"},
		{1, "1 * time.Millisecond"}, {500, "500 * time.Millisecond"}, {60_000, "60000 * time.Millisecond"}, {time.Millisecond - 1, "shorter"},
		{time.Hour + 1, "longer"}, {1<<63 - 1, "longer"}, {twice, "e"},
	} {
		err := duration.Check("a.Option", c.d, time.Hour)
		if (err == nil) != (c.want == "") || err != nil && !(strings.HasPrefix(err.Error(), "a.Option") && strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d: %v", c.d, err)
		}
	}
}
