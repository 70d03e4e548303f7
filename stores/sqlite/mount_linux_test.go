package sqlitestore_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// mount mounts a file system in a folder of the test, which only root may.
func mount(t *testing.T, kind string, flags uintptr, options string) (folder string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	folder = t.TempDir()
	if err := syscall.Mount(kind, folder, kind, flags, options); err != nil {
		t.Skip("this machine mounts nothing:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

func remount(t *testing.T, folder string, readOnly bool) {
	t.Helper()
	flags := uintptr(syscall.MS_REMOUNT)
	if readOnly {
		flags |= syscall.MS_RDONLY
	}
	if err := syscall.Mount("", folder, "", flags, ""); err != nil {
		t.Fatal(err)
	}
}

// locks returns how many locks there are on a file.
func locks(t *testing.T, path string) int {
	t.Helper()
	all, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(all), fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino))
}
