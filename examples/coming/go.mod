module github.com/gensession/gensession/examples/coming

go 1.26.0

require (
	github.com/alexedwards/scs/goredisstore v0.0.0-20250212122300-421ef1d8611c
	github.com/alexedwards/scs/v2 v2.9.0
	github.com/boj/redistore v1.4.1
	github.com/gensession/gensession v0.1.0
	github.com/gensession/gensession/adapters/fiberv3 v0.1.0
	github.com/gensession/gensession/adapters/gorilla v0.1.0
	github.com/gensession/gensession/stores/foreign v0.1.0
	github.com/gensession/gensession/stores/redis v0.1.0
	github.com/gofiber/fiber/v3 v3.1.0
	github.com/gofiber/storage/redis/v3 v3.4.3
	github.com/gorilla/securecookie v1.1.2
	github.com/gorilla/sessions v1.4.0
	github.com/redis/go-redis/v9 v9.17.3
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dgryski/go-rendezvous v0.0.0-20200823014737-9f7001d12a5f // indirect
	github.com/gensession/gensession/adapters/fasthttp v0.1.0 // indirect
	github.com/gofiber/schema v1.7.0 // indirect
	github.com/gofiber/utils/v2 v2.0.2 // indirect
	github.com/gomodule/redigo v1.9.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/molecule-man/go-brrr v1.3.0 // indirect
	github.com/philhofer/fwd v1.2.0 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	github.com/tinylib/msgp v1.6.3 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	github.com/valyala/fasthttp v1.77.0 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace github.com/gensession/gensession => ../..

replace github.com/gensession/gensession/adapters/fasthttp => ../../adapters/fasthttp

replace github.com/gensession/gensession/adapters/fiberv3 => ../../adapters/fiberv3

replace github.com/gensession/gensession/adapters/gorilla => ../../adapters/gorilla

replace github.com/gensession/gensession/stores/foreign => ../../stores/foreign

replace github.com/gensession/gensession/stores/redis => ../../stores/redis
