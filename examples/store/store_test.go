package mapstore_test

import (
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	mapstore "github.com/gensession/gensession/examples/store"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) core.Store { return new(mapstore.Store) })
}
