module github.com/gensession/gensession/bench

go 1.26.0

require (
	github.com/gensession/gensession v0.1.0
	github.com/gensession/gensession/adapters/fasthttp v0.1.0
	github.com/gensession/gensession/adapters/fiber v0.1.0
	github.com/gensession/gensession/otel v0.1.0
	github.com/gensession/gensession/stores/memcache v0.1.0
	github.com/gensession/gensession/stores/redis v0.1.0
	github.com/gensession/gensession/stores/sql v0.1.0
	github.com/gensession/gensession/stores/sqlite v0.1.0
	github.com/go-sql-driver/mysql v1.10.1
	github.com/gofiber/fiber/v2 v2.52.15
	github.com/jackc/pgx/v5 v5.13.0
	github.com/valyala/fasthttp v1.77.0
	go.opentelemetry.io/otel/sdk v1.47.0
	go.opentelemetry.io/otel/sdk/metric v1.47.0
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	github.com/bradfitz/gomemcache v0.0.0-20260422231931-4d751bb6e37c // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/mattn/go-colorable v0.1.13 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/mattn/go-runewidth v0.0.16 // indirect
	github.com/molecule-man/go-brrr v1.3.0 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	github.com/rivo/uniseg v0.2.0 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.opentelemetry.io/otel/metric v1.47.0 // indirect
	go.opentelemetry.io/otel/trace v1.47.0 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	modernc.org/libc v1.80.1 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
	modernc.org/sqlite v1.62.0 // indirect
)

replace (
	github.com/gensession/gensession => ..
	github.com/gensession/gensession/adapters/fasthttp => ../adapters/fasthttp
	github.com/gensession/gensession/adapters/fiber => ../adapters/fiber
	github.com/gensession/gensession/otel => ../otel
	github.com/gensession/gensession/stores/memcache => ../stores/memcache
	github.com/gensession/gensession/stores/redis => ../stores/redis
	github.com/gensession/gensession/stores/sql => ../stores/sql
	github.com/gensession/gensession/stores/sqlite => ../stores/sqlite
)
