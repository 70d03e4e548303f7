package golden

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A clock relates our time to that of the recording, where it stood still. In
// a bubble both are the same. Elsewhere ours is shift ahead and goes on, and
// what depends on it is compared with the times that it was measured to be
// between.
type clock struct {
	shift    time.Duration   // in whole seconds
	recorded time.Time       // when the step was
	request  span            // when it was here
	writes   map[string]span // the last one of each key
}

// A span is when something happened: somewhere in it.
type span struct{ from, to time.Time }

// start sets the clock to the first step. Within a second, a ttl of whole
// seconds that is counted to a moment is what it was.
func (c *clock) start(step *step) {
	c.shift = time.Since(time.UnixMilli(step.ClockMS)).Truncate(time.Second)
}

// await waits until the time of a step has come.
func (c *clock) await(step *step) {
	c.recorded = time.UnixMilli(step.ClockMS)
	time.Sleep(time.Until(c.recorded.Add(c.shift)))
}

// wrote notes when key got its ttl.
func (c *clock) wrote(key string, when span) {
	if c.writes == nil {
		c.writes = map[string]span{}
	}
	c.writes[key] = when
}

var (
	expiresOfLine   = regexp.MustCompile(`; expires=([^;]*)`)
	expiresOfRecord = regexp.MustCompile(`"expires":"([^"]*)"`)
	expiresOfTarget = regexp.MustCompile(`expires%22%3A\d+`)
	maxAgeOfRecord  = regexp.MustCompile(`"maxAge":(\d+)`)
)

const jsonTime = "2006-01-02T15:04:05.000Z"

// target is that of the request, with the moment that it may name.
func (c *clock) target(path string) string {
	return expiresOfTarget.ReplaceAllStringFunc(path, func(s string) string {
		i := strings.LastIndex(s, "A") + 1
		ms, _ := strconv.ParseInt(s[i:], 10, 64)
		return s[:i] + strconv.FormatInt(ms+c.shift.Milliseconds(), 10)
	})
}

// lines are the Set-Cookie lines got, with the time of the recording in place
// of ours where that is as it must be. The records are those of the recording.
func (c *clock) lines(got, want []string, records []Record) []string {
	got = slices.Clone(got)
	for i := range min(len(got), len(want)) {
		g, w := expiresOfLine.FindStringSubmatch(got[i]), expiresOfLine.FindStringSubmatch(want[i])
		if g == nil || w == nil {
			continue
		}
		ours, err := http.ParseTime(g[1])
		recorded, wantErr := http.ParseTime(w[1])
		if err == nil && wantErr == nil && recorded.Unix() != 0 && c.is(ours, recorded, records) {
			got[i] = strings.Replace(got[i], g[1], w[1], 1)
		}
	}
	return got
}

// is reports whether a moment that was recorded is ours, to the second.
func (c *clock) is(ours, recorded time.Time, records []Record) bool {
	if slices.ContainsFunc(records, toAMoment) {
		return ours.Equal(recorded.Add(c.shift))
	}
	age := recorded.Sub(c.recorded)
	for _, r := range records {
		// The line has not more than seconds.
		if m := maxAgeOfRecord.FindStringSubmatch(r.Value); m != nil {
			ms, _ := strconv.ParseFloat(m[1], 64)
			age += millis(ms) % time.Second
			break
		}
	}
	return !ours.Before(c.request.from.Add(age).Truncate(time.Second)) && !ours.After(c.request.to.Add(age))
}

// toAMoment reports whether a record's cookie ends at a moment, and does not
// have an age.
func toAMoment(r Record) bool { return expiresOfRecord.MatchString(r.Value) }

// records are got with the times and the ttl of the recording in place of ours
// where these are as they must be.
func (c *clock) records(got, want []Record, now time.Time) []Record {
	got = slices.Clone(got)
	for i := range got {
		r := &got[i]
		r.Value = expiresOfRecord.ReplaceAllStringFunc(r.Value, func(s string) string {
			at, err := time.Parse(jsonTime, expiresOfRecord.FindStringSubmatch(s)[1])
			if err != nil {
				return s
			}
			return `"expires":"` + at.Add(-c.shift).Format(jsonTime) + `"`
		})
		written, known := c.writes[r.Key]
		if i >= len(want) || r.Key != want[i].Key || want[i].PTTL < 0 || !known {
			continue
		}
		least, most := millis(float64(want[i].PTTL)), millis(float64(want[i].PTTL))
		if toAMoment(want[i]) {
			start := c.recorded.Add(c.shift)
			least, most = roundUp(least-written.to.Sub(start), time.Second), roundUp(most-written.from.Sub(start), time.Second)
		}
		least -= roundUp(now.Sub(written.from), time.Millisecond)
		if ours := millis(float64(r.PTTL)); ours >= least && ours <= most {
			r.PTTL = want[i].PTTL
		}
	}
	return got
}

// roundUp rounds to a multiple of unit.
func roundUp(d, unit time.Duration) time.Duration {
	if rest := d % unit; rest > 0 {
		d += unit - rest
	}
	return d
}
