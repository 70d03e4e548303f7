module github.com/gensession/gensession/internal/faults

go 1.26.0

require (
	github.com/bradfitz/gomemcache v0.0.0-20260422231931-4d751bb6e37c
	github.com/gensession/gensession v0.1.0
	github.com/gensession/gensession/adapters/fasthttp v0.1.0
	github.com/gensession/gensession/adapters/fiber v0.1.0
	github.com/gensession/gensession/stores/memcache v0.1.0
	github.com/gensession/gensession/stores/redis v0.1.0
	github.com/gofiber/fiber/v2 v2.52.15
	github.com/redis/rueidis v1.0.79
	github.com/valyala/fasthttp v1.77.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	modernc.org/libc v1.80.1 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
	modernc.org/sqlite v1.62.0 // indirect
)

require (
	github.com/gensession/gensession/stores/sql v0.1.0
	github.com/gensession/gensession/stores/sqlite v0.1.0
	github.com/google/uuid v1.6.0 // indirect
	github.com/jackc/pgx/v5 v5.13.0
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/mattn/go-colorable v0.1.13 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/mattn/go-runewidth v0.0.16 // indirect
	github.com/molecule-man/go-brrr v1.3.0 // indirect
	github.com/rivo/uniseg v0.2.0 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace (
	github.com/gensession/gensession => ../..
	github.com/gensession/gensession/adapters/fasthttp => ../../adapters/fasthttp
	github.com/gensession/gensession/adapters/fiber => ../../adapters/fiber
	github.com/gensession/gensession/stores/memcache => ../../stores/memcache
	github.com/gensession/gensession/stores/redis => ../../stores/redis
)

replace github.com/gensession/gensession/stores/sql => ../../stores/sql

replace github.com/gensession/gensession/stores/sqlite => ../../stores/sqlite
