package foreign_test

import (
	"testing"

	limiter2 "github.com/gofiber/fiber/v2/middleware/limiter"
	limiter3 "github.com/gofiber/fiber/v3/middleware/limiter"
	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
)

func TestMain(m *testing.M) {
	// Both versions of Fiber keep the time for ever, from their first limiter on, and
	// so does fasthttp from its first server on.
	limiter2.New()
	limiter3.New()
	goleak.VerifyTestMain(servers.Main(m), goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

var testKeys = core.Keyring{[]byte("HxB3p0q7Zk2mVtN8wRf5yLdGsJcE9uAa")}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
