#!/usr/bin/env bash
# Gives every module the newest releases of what it requires; our own modules
# stay the folders of this repository.
source "$(dirname "$0")/lib.sh"
export GOWORK=off
for m in $(modules); do
	say "requirements of $m"
	others=$(cd "$m" && go list -m -f '{{if not (or .Main .Replace)}}{{.Path}}@upgrade{{end}}' $(sed -nE 's,^(require )?[[:space:]]+?([^ ]+) v[^ ]+.*$,\2,p' go.mod))
	[ -z "$others" ] || (cd "$m" && go get $others && go mod tidy)
done
# One may have moved another.
for m in $(modules); do
	(cd "$m" && go mod tidy)
done
git --no-pager diff --stat -- '*go.mod'
