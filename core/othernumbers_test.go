package core_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// TestW31NumbersOfOtherLanguages: no option takes the number of another language, in
// which a time is a number of seconds or milliseconds, nor one that was multiplied by
// its unit twice.
func TestW31NumbersOfOtherLanguages(t *testing.T) {
	t.Parallel()
	type o = core.Options
	const ms, s = 1, 1 // what a program of another language leaves out
	overflow := time.Duration(7200) * time.Second
	overflow *= time.Second
	koa := func(set func(*o, time.Duration)) func(*o, time.Duration) {
		return func(to *o, d time.Duration) {
			keys := to.Keys
			*to = *core.KoaCompat()
			to.Keys = keys
			set(to, d)
		}
	}
	lives := []time.Duration{
		30 * 60 * s, 3600 * s, 86400 * s, 30 * 86400 * s,
		60_000 * ms, 1_800_000 * ms, 86_400_000 * ms, 12 * 86_400_000 * ms, 30 * 86_400_000 * ms, 365 * 86_400_000 * ms,
		-1, -time.Hour, overflow, 100 * 365 * 24 * time.Hour, 1<<63 - 1, -1 << 63,
	}
	waits := []time.Duration{3 * s, 30 * s, 3000 * ms, 500 * ms, 10_000 * ms, 60_000 * ms, -1, overflow, 100 * 365 * 24 * time.Hour, 1<<63 - 1, -1 << 63}
	for name, c := range map[string]struct {
		set   func(*o, time.Duration)
		wrong []time.Duration
		right time.Duration
	}{
		"IdleTimeout":      {func(o *o, d time.Duration) { o.IdleTimeout = d }, lives, time.Hour},
		"AbsoluteTimeout":  {func(o *o, d time.Duration) { o.AbsoluteTimeout = d }, lives, 2 * 365 * 24 * time.Hour},
		"RenewAfter":       {func(o *o, d time.Duration) { o.RenewAfter = d }, lives, time.Hour},
		"RenewGrace":       {func(o *o, d time.Duration) { o.RenewGrace = d }, append(waits, lives...), time.Minute},
		"RememberFor":      {func(o *o, d time.Duration) { o.RememberFor = d }, lives, 30 * 24 * time.Hour},
		"TouchEvery":       {func(o *o, d time.Duration) { o.IdleTimeout, o.TouchEvery = time.Hour, d }, append(waits, lives...), time.Minute},
		"TTL":              {koa(func(o *o, d time.Duration) { o.TTL = d }), lives, time.Hour},
		"MaxAge":           {func(o *o, d time.Duration) { o.Cookie.MaxAge = d }, lives[:len(lives)-2], time.Hour},
		"LateWindow":       {func(o *o, d time.Duration) { o.LateWindow = d }, waits, 3 * time.Second},
		"OpTimeout":        {func(o *o, d time.Duration) { o.OpTimeout = d }, waits, time.Millisecond},
		"ReconnectTimeout": {func(o *o, d time.Duration) { o.ReconnectTimeout = d }, waits, time.Hour},
		"UnderivedUntil": {func(o *o, d time.Duration) { o.UnderivedUntil = time.Unix(int64(d), 0) },
			[]time.Duration{1_800_000_000_000}, 1_800_000_000},
		"UnsealedUntil": {func(o *o, d time.Duration) {
			o.Seal = core.Sealing{Keys: goodKeys, UnsealedUntil: time.Unix(int64(d), 0)}
		},
			[]time.Duration{1_800_000_000_000}, 1_800_000_000},
		"Migrate.Until": {func(o *o, d time.Duration) { o.Migrate = core.Migration{Keys: goodKeys, Until: time.Unix(int64(d), 0)} },
			[]time.Duration{1_800_000_000_000}, 1_800_000_000},
	} {
		t.Run("W31 "+name, func(t *testing.T) {
			for _, d := range c.wrong {
				if name == "MaxAge" && d == core.UntilBrowserCloses {
					continue
				}
				options := o{Keys: goodKeys}
				c.set(&options, d)
				if m, err := core.New(newMemory(t), &options); err == nil {
					_ = m.Close()
					t.Errorf("%v (%d) is taken", d, d)
				} else if !strings.Contains(err.Error(), name) {
					t.Errorf("%v (%d): %v", d, d, err)
				}
			}
			options := o{Keys: goodKeys}
			c.set(&options, c.right)
			m, err := core.New(newMemory(t), &options)
			must(t, err)
			must(t, m.Close())
		})
	}
}

// TestW31TTLFunc: what TTLFunc returns is not known before, so a number of another
// language is told once; Node's ttl is a number of milliseconds.
func TestW31TTLFunc(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ttl  time.Duration
		told bool
	}{
		"a day in milliseconds":     {86_400_000, true},
		"30 days in milliseconds":   {30 * 86_400_000, true},
		"an hour in seconds":        {3600, true},
		"a hundred years":           {100 * 365 * 24 * time.Hour, true},
		"a day":                     {24 * time.Hour, false},
		"what is left, which ends":  {412_345_678, false},
		"that of the Options":       {0, false},
		"none, which ends sessions": {-1, false},
	} {
		t.Run("W31 "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told misfits
				o := *core.KoaCompat()
				o.TTLFunc = func(*core.Session) time.Duration { return c.ttl }
				a := newApp(t, told.options(o))
				for range 3 {
					must(t, visit(t, a.manager, &jartest.Jar{}))
				}
				if c.told {
					told.want(t, "Options.TTLFunc", "milliseconds", "n * time.Millisecond")
				} else {
					told.want(t)
				}
			})
		})
	}
}
