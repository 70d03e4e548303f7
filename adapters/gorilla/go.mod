module github.com/gensession/gensession/adapters/gorilla

go 1.26.0

require (
	github.com/gensession/gensession v0.1.0
	github.com/gorilla/sessions v1.4.0
)

require github.com/gorilla/securecookie v1.1.2 // indirect

replace github.com/gensession/gensession => ../..
