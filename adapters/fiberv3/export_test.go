package fiberv3session

import "github.com/gensession/gensession/adapters/internal/proxy"

// Secure is the default of Options.Secure.
var Secure = secure(proxy.New(nil, "", 0))
