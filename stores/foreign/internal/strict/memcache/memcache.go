// Package memcache has a driver for tests that is named like those of memcached.
package memcache

import (
	"time"

	"github.com/gensession/gensession/stores/foreign/internal/strict"
)

// A Storage takes an expiration of more than 30 days for a date, as memcached does.
type Storage struct{ strict.Fiber }

// New returns an empty Storage.
func New() *Storage {
	return &Storage{strict.Fiber{MaxTTL: 30 * 24 * time.Hour}}
}
