# Sourced by the scripts beside it. They run from the root of the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The tools of make check and of ci/release.sh, pinned.
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
gosec=github.com/securego/gosec/v2/cmd/gosec@v2.30.0
cyclonedx=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

say() { printf '\n== %s\n' "$*"; }

# Directories of all modules, the main one first.
modules() {
	find . -name node_modules -prune -o -name testdata -prune -o -name go.mod -print | sed 's,/go.mod$,,' | sort
}

# Directories of the modules that users can require, and of the examples.
released() { modules | grep -E '^\./(adapters|stores|cmd)/|^\.$|^\./examples$|^\./otel$'; }

# tag FOLDER VERSION
tag() { local p=${1#.}; p=${p#/}; echo "${p:+$p/}$2"; }

# jq_line KEY: a text at the top of the JSON of go mod edit.
jq_line() { sed -n 's/^	"'"$1"'": "\(.*\)",*$/\1/p'; }

# ours FOLDER: what the module there requires of this repository, PATH@VERSION.
ours() {
	sed -nE 's,^(require )?[[:space:]]*(github.com/gensession/gensession[^ ]*) (v[^ ]+).*$,\2@\3,p' "$1/go.mod"
}

# replaced FOLDER PATH: whether the module there replaces PATH by its folder.
replaced() {
	local to
	to=$(sed -nE "s,^(replace )?[[:space:]]*$2 => (\.[^ ]*)\$,\2,p" "$1/go.mod")
	[ -n "$to" ] && [ "$(sed -n 's/^module //p' "$1/$to/go.mod")" = "$2" ]
}

# Whether the race detector can be used: it needs cgo and a C compiler.
can_race() {
	[ "$(go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC | cut -d' ' -f1)" >/dev/null
}

# Prints what is not formatted, and fails if there is any.
formatted() {
	local bad
	bad=$(gofmt -s -l .)
	[ -z "$bad" ] || { printf 'not formatted, run gofmt -s -w:\n%s\n' "$bad" >&2; return 1; }
}
