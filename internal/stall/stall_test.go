package stall

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An outer is the t of the test that calls Retry.
type outer struct {
	testing.TB
	errs    []string
	skipped bool
}

func (o *outer) Error(args ...any)         { o.errs = append(o.errs, args[0].(string)) }
func (o *outer) Errorf(f string, _ ...any) { o.errs = append(o.errs, f) }
func (o *outer) SkipNow()                  { o.skipped = true }

// stood makes a machine that stood still so long in each try, one after the other, and
// goes on after them.
func stood(each ...time.Duration) func() func() time.Duration {
	return func() func() time.Duration {
		return func() (d time.Duration) {
			if len(each) > 0 {
				d, each = each[0], each[1:]
			}
			return d
		}
	}
}

func TestRetry(t *testing.T) {
	const no, yes = still / 2, 2 * still
	for name, c := range map[string]struct {
		stood []time.Duration
		fails []bool // by the try; the last one goes on
		tries int
		fail  bool
	}{
		"it passes": {nil, []bool{false}, 1, false},
		"it passes while the machine stands still": {[]time.Duration{yes}, []bool{false}, 1, false},
		"it fails": {[]time.Duration{no}, []bool{true, false}, 1, true},
		"it fails while the machine stands still": {[]time.Duration{yes}, []bool{true, false}, 2, false},
		"twice":                              {[]time.Duration{yes, yes}, []bool{true, true, false}, 3, false},
		"and then on a machine that goes on": {[]time.Duration{yes, no}, []bool{true}, 2, true},
		"each time, on a machine that is no better": {slices.Repeat([]time.Duration{yes}, 100), []bool{true}, tries, true},
	} {
		for kind, fail := range map[string]func(t testing.TB){
			"Error": func(t testing.TB) { t.Error("wrong") }, "Errorf": func(t testing.TB) { t.Errorf("%s", "wrong") },
			"Fatal": func(t testing.TB) { t.Fatal("wrong") }, "Fatalf": func(t testing.TB) { t.Fatalf("%s", "wrong") },
			"Fail": testing.TB.Fail, "FailNow": testing.TB.FailNow,
			"in a cleanup": func(t testing.TB) { t.Cleanup(func() { t.Fatal("wrong") }) },
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				o := &outer{TB: t}
				n := 0
				retry(o, stood(c.stood...), func(t testing.TB) {
					fails := c.fails[min(n, len(c.fails)-1)]
					if n++; fails {
						fail(t)
					}
				})
				if n != c.tries || (len(o.errs) > 0) != c.fail || o.skipped {
					t.Errorf("%d tries, %q", n, o.errs)
				}
				if c.fail && !strings.HasPrefix(kind, "Fail") && (!strings.HasPrefix(o.errs[0], "stall_test.go:") || !strings.HasSuffix(o.errs[0], ": wrong")) {
					t.Errorf("said %q", o.errs)
				}
			})
		}
	}
}

// Each try has what it began taken away before the next one.
func TestCleanup(t *testing.T) {
	var did []string
	retry(&outer{TB: t}, stood(2*still), func(t testing.TB) {
		t.Cleanup(func() {
			if t.Context().Err() == nil {
				did = append(did, "ctx lives")
			}
			did = append(did, "first")
			t.Cleanup(func() { did = append(did, "of a cleanup") })
		})
		t.Cleanup(func() { did = append(did, "second") })
		if did = append(did, "test"); t.Context().Err() != nil || len(did) == 1 {
			t.FailNow()
		}
	})
	if got := strings.Join(did, ", "); got != "test, second, first, of a cleanup, test, second, first, of a cleanup" {
		t.Error(got)
	}
}

func TestSkip(t *testing.T) {
	o := &outer{TB: t}
	retry(o, stood(2*still), func(t testing.TB) {
		defer func() {
			if !t.Skipped() || t.Failed() {
				panic(errors.New("it does not know"))
			}
		}()
		t.Skip("not here")
	})
	if !o.skipped || len(o.errs) > 0 {
		t.Error(o)
	}
}

// The longest time in which nothing got on.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		longest := watch()
		time.Sleep(time.Hour)
		if d := longest(); d > 0 {
			t.Errorf("%v in a bubble, whose time does not stand still", d)
		}
	})
	const stands = "0.5"
	longest := watch()
	pause := exec.Command("sh", "-c", "kill -STOP "+strconv.Itoa(os.Getpid())+"; sleep "+stands+"; kill -CONT "+strconv.Itoa(os.Getpid()))
	if err := pause.Run(); err != nil {
		t.Skip("a process can't be stopped here:", err)
	}
	if d := longest(); d < still {
		t.Errorf("%v in a process that was stopped for %s seconds", d, stands)
	}
}
