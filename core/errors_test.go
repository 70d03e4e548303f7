package core

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gensession/gensession/core/internal/record"
)

var sentinels = map[string]error{
	"ErrNotFound": ErrNotFound, "ErrConflict": ErrConflict, "ErrGone": ErrGone, "ErrUnavailable": ErrUnavailable,
	"ErrTimeout": ErrTimeout, "ErrOutcomeUnknown": ErrOutcomeUnknown, "ErrRefused": ErrRefused, "ErrCorrupt": ErrCorrupt,
	"ErrTooLarge": ErrTooLarge, "ErrType": ErrType, "ErrCommitted": ErrCommitted, "ErrNoSession": ErrNoSession,
}

func TestSentinels(t *testing.T) {
	t.Parallel()
	for a, x := range sentinels {
		for b, y := range sentinels {
			want := a == b || a == "ErrTimeout" && b == "ErrUnavailable"
			if errors.Is(x, y) != want {
				t.Errorf("%s is %s: %v", a, b, !want)
			}
		}
	}
	if err := fmt.Errorf("get: %w", record.ErrForeign); !errors.Is(err, ErrCorrupt) {
		t.Error("the record of another key is no ErrCorrupt")
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	want := map[string]int{
		"ErrNotFound": 500, "ErrConflict": 409, "ErrGone": 409, "ErrUnavailable": 503, "ErrTimeout": 503, "ErrOutcomeUnknown": 503,
		"ErrRefused": 503, "ErrCorrupt": 500, "ErrTooLarge": 500, "ErrType": 500, "ErrCommitted": 500, "ErrNoSession": 500,
	}
	for name, err := range sentinels {
		for _, e := range []error{err, &Error{OpSet, err}, fmt.Errorf("a: %w", &Error{OpGet, fmt.Errorf("b: %w", err)}), errors.Join(errors.New("x"), err)} {
			if got := Status(e); got != want[name] {
				t.Errorf("%s in %T: %d, want %d", name, e, got, want[name])
			}
		}
	}
	for err, want := range map[error]int{
		nil: 200, context.Canceled: 503, context.DeadlineExceeded: 503, errors.New("x"): 500,
	} {
		if got := Status(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	if got := Status(errors.Join(ErrConflict, ErrUnavailable)); got != 503 {
		t.Errorf("a conflict in an outage: %d", got)
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	inner := errors.New("out of memory")
	e := &Error{OpSet, fmt.Errorf("%w: %w", ErrRefused, inner)}
	if got, want := e.Error(), "session set: session store refused: out of memory"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	wrapped := fmt.Errorf("login: %w", e)
	var found *Error
	if !errors.As(wrapped, &found) || found.Op != OpSet || !errors.Is(wrapped, inner) || !errors.Is(wrapped, ErrRefused) {
		t.Error("the parts are not found")
	}
}
