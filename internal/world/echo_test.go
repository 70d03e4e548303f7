//go:build !386 && !arm

package world_test

import "slices"

var echoPrograms = slices.Concat(echo4Programs, echo5Programs)
