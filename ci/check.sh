#!/usr/bin/env bash
# What tools can see without running the code.
source "$(dirname "$0")/lib.sh"

say 'gofmt'
formatted

say 'go vet of all modules together'
go vet work

# Every package is built too, and its tests.
for platform in windows/amd64 darwin/arm64 linux/386 linux/arm linux/s390x; do
	say "go vet for $platform"
	GOOS=${platform%/*} GOARCH=${platform#*/} CGO_ENABLED=0 go vet work
done

top=$PWD
# Each module as its users have it.
export GOWORK=off
for m in $(modules); do
	cd "$m"
	say "go vet in $m"
	go vet ./...
	say "staticcheck in $m"
	go run "$staticcheck" ./...
	# What users compile: not the proofs, the benchmarks and the suite of adapters,
	# nor a folder whose code belongs to another module. The examples begin as
	# anybody's first program does, without timeouts of the server (G112, G114).
	if released | grep -qxF "$m"; then
		say "gosec in $m"
		go run "$gosec" -quiet -exclude-rules='examples/.*:G112,G114' \
			$(go list -f '{{.Dir}}' ./... | grep -vE "^$top/(internal|bench)(/|$)|/adaptertest$")
	fi
	say "govulncheck in $m"
	if out=$(go run "$govulncheck" ./... 2>&1); then
		tail -n 1 <<<"$out"
	elif grep -q 'fetching vulnerabilities' <<<"$out"; then
		echo 'not done: the database of vulnerabilities is out of reach'
	else
		echo "$out"
		exit 1
	fi
	say "go mod tidy in $m"
	go mod tidy -diff
	cd - >/dev/null
done
say 'all passed'
