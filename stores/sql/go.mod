module github.com/gensession/gensession/stores/sql

go 1.26.0

require (
	github.com/gensession/gensession v0.1.0
	go.uber.org/goleak v1.3.0
)

replace github.com/gensession/gensession => ../..
