# Each target is a script in ci/, the same on the desk and in CI.

.PHONY: help test check bench fuzz soak e2e release

help:
	@echo 'make test    the one command: install what the tests need (NO_INSTALL=1: nothing), then all of them'
	@echo 'make check   formatting, vet, other platforms, staticcheck, known vulnerabilities, tidy modules'
	@echo 'make bench   all benchmarks, bench/RESULTS.md and its charts; QUICK=1 for two minutes, BENCH=regexp for some'
	@echo 'make fuzz    every fuzz target for FUZZTIME=5m; FUZZ=regexp chooses'
	@echo 'make soak    the long tests, for about two hours; SOAKTIME=2m is how long each goes on, PARTS=regexp chooses'
	@echo 'make e2e     the login example in a real browser, which it installs; screenshots in bin/e2e'
	@echo 'make release VERSION=v0.1.0   the commit and the tags of a release, here only'

test:
	@ci/test.sh

check:
	@ci/check.sh

bench:
	@ci/bench.sh

fuzz:
	@ci/fuzz.sh

soak:
	@ci/soak.sh

e2e:
	@ci/e2e.sh

release:
	@ci/release.sh $(VERSION)
