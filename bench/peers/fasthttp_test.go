package peers

import (
	"strconv"
	"testing"

	"github.com/fasthttp/session/v2"
	memoryprovider "github.com/fasthttp/session/v2/providers/memory"
	redisprovider "github.com/fasthttp/session/v2/providers/redis"
	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/internal/servers"
)

func fasthttpSite(b *testing.B, store string, values map[string]any) drive.Site {
	config := session.NewDefaultConfig()
	config.Expiration = life
	config.CookieSameSite = fasthttp.CookieSameSiteLaxMode
	config.EncodeFunc, config.DecodeFunc = session.MSGPEncode, session.MSGPDecode
	sessions := session.New(config)
	var provider session.Provider
	var err error
	if store == redis {
		provider, err = redisprovider.New(redisprovider.Config{
			KeyPrefix: "session", Addr: servers.SharedRedis(b).Addr(), PoolSize: callersMax,
		})
	} else {
		provider, err = memoryprovider.New(memoryprovider.Config{})
	}
	if err == nil {
		err = sessions.SetProvider(provider)
	}
	if err != nil {
		b.Fatal(err)
	}
	return func(b *testing.B, op string) func() drive.Client {
		run := func(ctx *fasthttp.RequestCtx) (n int, err error) {
			if op == drive.Visitor || op == drive.Untouched {
				return 0, nil
			}
			s, err := sessions.Get(ctx)
			if err != nil {
				return 0, err
			}
			switch op {
			case drive.Fill:
				for name, v := range values {
					s.Set(name, v)
				}
				return 0, sessions.Save(ctx, s)
			case drive.Write:
				// An integer comes back as 64 bits from the store.
				was, _ := s.Get("visits").(int64)
				s.Set("visits", was+1)
				return int(was) + 1, sessions.Save(ctx, s)
			}
			was, _ := s.Get("visits").(int64)
			if op == drive.Login {
				err = sessions.Regenerate(ctx)
			}
			return int(was), err
		}
		h := func(ctx *fasthttp.RequestCtx) {
			n, err := run(ctx)
			if err != nil {
				ctx.Error(err.Error(), fasthttp.StatusInternalServerError)
				return
			}
			ctx.SetBodyString(strconv.Itoa(n))
		}
		return func() drive.Client { return drive.Fast(h) }
	}
}
