#!/usr/bin/env bash
# All benchmarks, in the form that benchstat reads.
source "$(dirname "$0")/lib.sh"
go test -run='^$' -bench="${BENCH:-.}" -benchmem -count="${COUNT:-1}" -benchtime="${BENCHTIME:-1s}" -timeout=2h \
	./bench/... ./stores/... ./core/...
