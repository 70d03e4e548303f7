module github.com/gensession/gensession/internal/koatest

go 1.26.0

require (
	github.com/gensession/gensession v0.1.0
	github.com/gensession/gensession/stores/redis v0.1.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/redis/rueidis v1.0.79 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace (
	github.com/gensession/gensession => ../..
	github.com/gensession/gensession/stores/redis => ../../stores/redis
)
