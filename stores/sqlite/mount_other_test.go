//go:build !linux

package sqlitestore_test

import "testing"

func mount(t *testing.T, kind string, flags uintptr, options string) (folder string) {
	t.Skip("no small file system on this system")
	return ""
}

func remount(t *testing.T, folder string, readOnly bool) {}

func locks(t *testing.T, path string) int { return 0 }
