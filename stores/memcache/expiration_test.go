package memcachestore_test

import (
	"crypto/rand"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

const (
	day   = 24 * time.Hour
	month = 30 * day
)

func TestExpiration(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	half := now.Add(time.Second / 2)
	late := time.Unix(math.MaxInt32-10, 0)
	for _, c := range []struct {
		ttl  time.Duration
		now  time.Time
		want int32
	}{
		{0, now, 0},
		{-1, now, 0}, // refused before
		{1, now, 2},
		{time.Millisecond, now, 2},
		{time.Second, now, 2},
		{time.Second + 1, now, 3},
		{1700 * time.Millisecond, half, 3},
		{day, now, 86401},
		{month - time.Second, now, 2592000},
		{month - time.Second + 1, now, 1_802_592_001},
		{month, now, 1_802_592_001},
		{month, half, 1_802_592_002},
		{400 * day, now, 1_834_560_001},
		{100 * 365 * day, now, math.MaxInt32},
		{math.MaxInt64, now, math.MaxInt32},
		{day, late, 86401},
		{month, late, 2592000},
		{math.MaxInt64, late, 2592000},
		{math.MaxInt64, time.Unix(math.MaxInt32+1e6, 0), 2592000},
	} {
		if got := memcachestore.Expiration(c.ttl, c.now); got != c.want {
			t.Errorf("%v at %v: %d, want %d", c.ttl, c.now.Unix(), got, c.want)
		}
	}
}

// Whatever the ttl, memcached takes the number for at least as long a time,
// within two seconds, as far as a number reaches.
func FuzzTTL(f *testing.F) {
	for _, ttl := range []time.Duration{0, 1, time.Second, month - 1, month, month + 1, math.MaxInt64} {
		f.Add(int64(ttl), int64(1_800_000_000_123_456_789))
		f.Add(int64(ttl), int64(math.MaxInt32)*int64(time.Second))
	}
	f.Fuzz(func(t *testing.T, nanos, at int64) {
		if nanos < 0 || at < 1e18 {
			t.Skip("a store refuses a negative ttl before, and no clock is before 2001")
		}
		ttl, now := time.Duration(nanos), time.Unix(0, at)
		e := memcachestore.Expiration(ttl, now)
		var lives time.Duration // the shortest that memcached may make of it
		switch {
		case e < 0:
			t.Fatal("a negative number ends at once")
		case e == 0:
			if ttl != 0 {
				t.Fatal("no end for", ttl)
			}
			return
		case int64(e) <= int64(month/time.Second):
			lives = time.Duration(e-1) * time.Second
		default:
			lives = time.Unix(int64(e)-1, 0).Sub(now)
		}
		most := max(time.Unix(math.MaxInt32-1, 0).Sub(now), month-time.Second)
		if lives < min(ttl, most) {
			t.Errorf("%v at %v: %d, which is too early", ttl, now.Unix(), e)
		}
		if lives-ttl > 2*time.Second {
			t.Errorf("%v at %v: %d, which is too late", ttl, now.Unix(), e)
		}
	})
}

// What the server itself makes of it.
func TestTTLOnTheServer(t *testing.T) {
	server := servers.SharedMemcached(t)
	s := open(t, patient(), server.Addr())
	prefix := "ttl:" + rand.Text() + ":"
	for i, ttl := range []time.Duration{0, 1, time.Second, time.Minute, day, month - time.Second, month, month + time.Second, 400 * day, 100 * 365 * day, math.MaxInt64} {
		key := prefix + strconv.Itoa(i)
		check := func(call string, err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s with %v: %v", call, ttl, err)
			}
			answer := server.Do("mg " + key + " t\r\n") // HD t60
			left, err := strconv.ParseInt(strings.TrimPrefix(strings.TrimSpace(answer), "HD t"), 10, 64)
			if err != nil {
				t.Fatalf("%s with %v: %q", call, ttl, answer)
			}
			want := int64(-1)
			if ttl > 0 {
				want = min(int64(ttl/time.Second), math.MaxInt32-time.Now().Unix()-2)
			}
			if left < want || left > want+3 {
				t.Errorf("%s with %v: %d seconds left, want %d", call, ttl, left, want)
			}
		}
		_, err := s.SetVersion(t.Context(), key, nil, ttl, 0)
		check("create", err)
		check("Set", s.Set(t.Context(), key, nil, ttl))
		_, v, err := s.GetVersion(t.Context(), key)
		check("GetVersion", err)
		_, err = s.SetVersion(t.Context(), key, nil, ttl, v)
		check("SetVersion", err)
		if err := s.Touch(t.Context(), key, time.Hour); err != nil {
			t.Fatal(err)
		}
		check("Touch", s.Touch(t.Context(), key, ttl))
	}
}
