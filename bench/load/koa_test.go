package load

import (
	"path/filepath"
	"sync"

	"github.com/gensession/gensession/internal/koamodules"
)

// modules is the folder of Koa's packages, in the versions that internal/koatest pins.
var modules = sync.OnceValues(func() (string, error) {
	return koamodules.Install(filepath.Join("..", "..", "internal", "koatest", "app"))
})
