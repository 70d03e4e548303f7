module github.com/gensession/gensession/internal/e2e

go 1.26.0

require (
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/gensession/gensession v0.1.0
	github.com/gensession/gensession/examples v0.1.0
	github.com/valyala/fasthttp v1.77.0
	golang.org/x/crypto v0.59.0
)

require (
	github.com/gensession/gensession/adapters/fasthttp v0.1.0 // indirect
	github.com/gensession/gensession/adapters/fiber v0.1.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/gofiber/fiber/v2 v2.52.15 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/klauspost/compress v1.20.4 // indirect
	github.com/mattn/go-colorable v0.1.15 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/mattn/go-runewidth v0.0.16 // indirect
	github.com/molecule-man/go-brrr v1.3.0 // indirect
	github.com/rivo/uniseg v0.2.0 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
)

replace (
	github.com/gensession/gensession => ../..
	github.com/gensession/gensession/adapters/fasthttp => ../../adapters/fasthttp
	github.com/gensession/gensession/adapters/fiber => ../../adapters/fiber
	github.com/gensession/gensession/examples => ../../examples
	github.com/gensession/gensession/stores/memcache => ../../stores/memcache
	github.com/gensession/gensession/stores/redis => ../../stores/redis
	github.com/gensession/gensession/stores/sql => ../../stores/sql
	github.com/gensession/gensession/stores/sqlite => ../../stores/sqlite
)
