// Package e2e drives a real browser, Chromium without a window, through the login
// example and small pages of its own. make e2e installs the browser if it is missing
// and runs the tests; go test alone skips them.
package e2e
