#!/usr/bin/env bash
# release.sh VERSION makes a release: one commit on a detached head, in which
# every module requires the others in VERSION and replaces none, and the tags
# of all modules that users can require. CHECK=1 only looks whether it could.
# The tags are signed if git has a key for that (user.signingKey). Beside them it
# makes a bill of materials of each of these modules, in CycloneDX, below bin/sbom.
# All of it is local: nothing is pushed, and the branch stays where it is.
source "$(dirname "$0")/lib.sh"
version=${1-}
if ! [[ $version =~ ^v[01]\.[0-9]+\.[0-9]+(-[0-9a-z.]+)?$ ]]; then
	echo 'usage: ci/release.sh v0.1.0' >&2
	exit 2
fi
root=github.com/gensession/gensession
export GOWORK=off
failed=0
wrong() { echo "$*" >&2; failed=1; }

say 'the tree'
[ -z "$(git status --porcelain)" ] || wrong 'there are changes that are not committed'
grep -qF "## [${version#v}]" CHANGELOG.md || wrong "CHANGELOG.md has no heading ## [${version#v}]"

say 'the modules'
needed=
line=$(go mod edit -json | jq_line Go)
for m in $(modules); do
	name=$(sed -n 's/^module //p' "$m/go.mod")
	want=$root${m#.}
	[ "$name" = "$want" ] || wrong "$m/go.mod is of $name, not of $want"
	grep -qx "	$m" go.work || wrong "go.work has no $m"
	[ "$(cd "$m" && go mod edit -json | jq_line Go)" = "$line" ] || wrong "the go line of $m is not that of the root, $line"
	for r in $(ours "$m"); do
		path=${r%@*} v=${r#*@}
		: "${needed:=$v}"
		[ "$v" = "$needed" ] || wrong "$m requires $path in $v, others ours in $needed"
		replaced "$m" "$path" || wrong "$m/go.mod does not replace $path by its folder"
	done
done
[ "$(grep -c '^	\.' go.work)" = "$(modules | wc -l)" ] || wrong 'go.work has a folder that is no module'
for m in $(released); do
	! git rev-parse -q --verify "refs/tags/$(tag "$m" "$version")" >/dev/null || wrong "there is a tag $(tag "$m" "$version")"
	for r in $(ours "$m"); do
		grep -qxF "${r%@*}" <<<"$(for x in $(released); do echo "$root${x#.}"; done)" || wrong "$m requires ${r%@*}, which gets no tag"
	done
done
[ $failed = 0 ] || exit 1
[ "${CHECK-}" != 1 ] || { say "$version could be made"; exit 0; }

# From the tree, where our modules are their folders: their tags are not pushed yet.
# The tool calls a folder by its commit, which is the version to be.
say 'the bills of materials'
sbom=bin/sbom/$version
rm -rf "$sbom"
mkdir -p "$sbom"
tool=$(mktemp -d)
trap 'rm -rf "$tool"' EXIT
GOBIN=$tool go install "$cyclonedx"
commit=$(git rev-parse HEAD | cut -c1-12)
for m in $(released); do
	t=$(tag "$m" "$version")
	bom=$sbom/${t//\//-}.cdx.json
	"$tool/cyclonedx-gomod" mod -json -noserial -type library -output "$bom.raw" "$m"
	sed -E "s/v[0-9][0-9a-z.-]*-$commit/$version/g" "$bom.raw" >"$bom"
	rm "$bom.raw"
	echo "$bom"
done

say "the commit of $version"
back=$(git symbolic-ref -q --short HEAD || git rev-parse HEAD)
git checkout -q --detach
trap 'git checkout -q -f "$back"; rm -rf "$tool"' EXIT
for m in $(modules); do
	for r in $(ours "$m"); do
		(cd "$m" && go mod edit -dropreplace="${r%@*}" -require="${r%@*}@$version")
	done
done
git commit -qam "repo: $version"
tags=()
sign=-a
if [ -n "$(git config user.signingKey || true)" ]; then
	sign=-s
else
	echo 'git has no user.signingKey: the tags are NOT SIGNED'
fi
for m in $(released); do
	t=$(tag "$m" "$version")
	git tag $sign -m "$root${m#.} $version" "$t"
	tags+=("$t")
	echo "$t"
done
say 'made, here only. Look at it, then: git push --atomic origin' "${tags[*]}"
echo "Attach the files of $sbom to the release."
echo "To undo: git tag -d ${tags[*]}"
