module github.com/gensession/gensession/internal/websocket

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/fasthttp/websocket v1.5.12
	github.com/gensession/gensession v0.1.0
	github.com/gensession/gensession/adapters/fasthttp v0.1.0
	github.com/gorilla/websocket v1.5.3
	github.com/valyala/fasthttp v1.77.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/molecule-man/go-brrr v1.3.0 // indirect
	github.com/savsgio/gotils v0.0.0-20240704082632-aef3928b8a38 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/net v0.61.0 // indirect
)

replace (
	github.com/gensession/gensession => ../..
	github.com/gensession/gensession/adapters/fasthttp => ../../adapters/fasthttp
)
