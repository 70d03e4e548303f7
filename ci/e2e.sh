#!/usr/bin/env bash
# The login example in a real browser, Chromium without a window, which is installed
# if it is missing and this machine lets us. RUN=regexp chooses tests. Screenshots of
# all pages are in bin/e2e afterwards.
source "$(dirname "$0")/lib.sh"

ci/install.sh chromium
export E2E=1 E2E_SHOTS=${E2E_SHOTS-$PWD/bin/e2e} GOWORK=off
rm -rf "$PWD/bin/e2e"
cd internal/e2e
go vet ./...
go test -count=1 -timeout=25m -run "${RUN-.}" ./...
