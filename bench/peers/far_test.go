package peers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/bench/internal/ours"
)

// BenchmarkFar measures requests on a Redis that is a millisecond away, as in
// another rack, where round trips are all that counts:
// op=login/callers=64/http=nethttp. It reports the time of each library, such as
// ns-scs, and that of a bare PING. The libraries take turns, in another order
// each time, as in BenchmarkClient. The session that a logout ends is begun
// before, in time that does not count. With many callers, the relay that makes
// the distance takes a good part of the processors: more for a library with a
// connection for each caller than for ours, which has one.
func BenchmarkFar(b *testing.B) {
	pairs := []struct {
		http string
		ours ours.Adapter
		name string
		site func(b *testing.B, store string, values map[string]any) drive.Site
	}{
		{"nethttp", ours.Adapters()[0], "scs", scsSite},
		{"fiber-v2", ours.Adapters()[2], "fiber-v2-session", fiber2Site},
	}
	for _, op := range []string{drive.Read, drive.Write, drive.Login, drive.Logout} {
		for _, callers := range []int{1, callersMax} {
			for _, p := range pairs {
				b.Run(fmt.Sprintf("op=%s/callers=%d/http=%s", op, callers, p.http), func(b *testing.B) {
					distant(b, op, callers, map[string]drive.Site{
						"gensession": gensessionSite(p.ours, nil)(b, far, drive.Values()),
						p.name:       p.site(b, far, drive.Values()),
					})
				})
			}
		}
	}
}

// distant measures an operation through each of the sites.
func distant(b *testing.B, op string, callers int, sites map[string]drive.Site) {
	type lib struct {
		name     string
		browsers []*drive.Browser
		times    []time.Duration // of one request
	}
	var libs []*lib
	for name, site := range sites {
		connect := drive.Browsers(b, site, op)
		l := &lib{name: name}
		for range callers {
			l.browsers = append(l.browsers, connect())
		}
		libs = append(libs, l)
	}
	// turn sends a request of each browser, all at once.
	turn := func(l *lib) time.Duration {
		if op == drive.Logout {
			atOnce(l.browsers, (*drive.Browser).Begin)
		}
		return atOnce(l.browsers, (*drive.Browser).Step) / time.Duration(callers)
	}
	for range 3 {
		for _, l := range libs {
			turn(l) // clients make their connections
		}
	}
	b.ResetTimer()
	for b.Loop() {
		for range 25 {
			rand.Shuffle(len(libs), func(i, j int) { libs[i], libs[j] = libs[j], libs[i] })
			for _, l := range libs {
				l.times = append(l.times, turn(l))
			}
		}
	}
	for _, l := range libs {
		for _, c := range l.browsers {
			c.Check(b)
		}
		slices.Sort(l.times)
		b.ReportMetric(float64(l.times[len(l.times)/2].Nanoseconds()), "ns-"+l.name)
	}
	b.ReportMetric(float64(ping(b).Nanoseconds()), "ns-ping")
}

// atOnce calls f for all browsers at once, and returns how long that takes.
func atOnce(browsers []*drive.Browser, f func(*drive.Browser)) time.Duration {
	began := time.Now()
	if len(browsers) == 1 {
		f(browsers[0])
		return time.Since(began)
	}
	var all sync.WaitGroup
	for _, c := range browsers {
		all.Go(func() { f(c) })
	}
	all.Wait()
	return time.Since(began)
}

// ping is how long a bare PING takes.
func ping(b *testing.B) time.Duration {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{redisAddr(b, far)}, DisableCache: true})
	must(b, err)
	defer c.Close()
	var times []time.Duration
	for range 21 {
		began := time.Now()
		must(b, c.Do(context.Background(), c.B().Ping().Build()).Error())
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)/2]
}
