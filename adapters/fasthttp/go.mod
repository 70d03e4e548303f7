module github.com/gensession/gensession/adapters/fasthttp

go 1.26.0

require (
	github.com/gensession/gensession v0.1.0
	github.com/valyala/fasthttp v1.77.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/molecule-man/go-brrr v1.3.0 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
)

replace github.com/gensession/gensession => ../..
