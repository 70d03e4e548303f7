package redisstore

import "github.com/gensession/gensession/core"

// For the benchmark of the bare client.
var Swap = swap

func Digest(data []byte) core.Version { return digest(data) }
