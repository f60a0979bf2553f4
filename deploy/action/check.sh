#!/usr/bin/env bash
# Runs whypull check for action.yml, whose inputs are in ACTION_*. Works with the bash of
# macOS (3.2).
set -euo pipefail

fail() {
	printf 'whypull action: %s\n' "$1" >&2
	exit 2
}

# Prints the path of whypull: that of the PATH, or a release with a verified checksum.
install() {
	if [ -z "${ACTION_VERSION:-}" ]; then
		command -v whypull || fail 'no whypull on the PATH; set the input version, such as v1.2.3'
		return
	fi
	[[ $ACTION_VERSION =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || fail 'input version: want a release such as v1.2.3'
	local system arch suffix=tar.gz name=whypull sum dir releases=https://github.com/whypull/whypull/releases/download
	case "$(uname -s)" in
	Linux) system=linux ;;
	Darwin) system=darwin ;;
	MINGW* | MSYS* | CYGWIN*) system=windows suffix=zip name=whypull.exe ;;
	*) fail "no release for $(uname -s)" ;;
	esac
	case "$(uname -m)" in
	x86_64 | amd64) arch=amd64 ;;
	aarch64 | arm64) arch=arm64 ;;
	*) fail "no release for $(uname -m)" ;;
	esac
	local archive="whypull_${ACTION_VERSION}_${system}_$arch.$suffix"
	dir=$(mktemp -d)
	for file in "$archive" checksums.txt; do
		curl --proto '=https' --tlsv1.2 -fsSL --retry 3 -o "$dir/$file" "$releases/$ACTION_VERSION/$file" || fail "cannot download $file of $ACTION_VERSION"
	done
	if command -v sha256sum >/dev/null; then sum=$(sha256sum <"$dir/$archive"); else sum=$(shasum -a 256 <"$dir/$archive"); fi
	grep -qxF "${sum%% *}  $archive" "$dir/checksums.txt" || fail "the checksum of $archive is not the one in checksums.txt"
	if [ "$suffix" = zip ]; then unzip -q "$dir/$archive" "$name" -d "$dir"; else tar -xzf "$dir/$archive" -C "$dir" "$name"; fi
	printf '%s\n' "$dir/$name"
}

# Prints the files that have changed since the base, each followed by a NUL byte. Without
# a base, as for the first push of a branch, they are all files.
changed() {
	local paths=() line
	while IFS= read -r line; do
		[ -z "$line" ] || paths+=(":(literal)$line")
	done <<<"${ACTION_PATHS:-}"
	local base=${ACTION_BASE:-}
	if [[ -z $base || $base =~ ^0+$ ]]; then
		git ls-files -z -- ${paths[@]+"${paths[@]}"}
		return
	fi
	[[ $base =~ ^[0-9a-f]{40,64}$ ]] || fail 'input base: want the full hash of a commit'
	git cat-file -e "$base^{commit}" 2>/dev/null || git fetch -q --no-tags --depth=1 origin "$base" || fail "cannot fetch commit $base"
	git diff --name-only -z --no-renames --diff-filter=d "$base" HEAD -- ${paths[@]+"${paths[@]}"}
}

# Reports whether a file has objects of Kubernetes: other YAML and JSON is not ours.
manifest() {
	case "$1" in
	*.yaml | *.yml | *.json) [ -f "$1" ] && grep -qE '(^|[[:space:]{,"])apiVersion"?[[:space:]]*:' -- "$1" ;;
	*) return 1 ;;
	esac
}

whypull=$(install)
arguments=(check --allow-empty --recursive --output "${ACTION_OUTPUT:-text}")
[ -z "${ACTION_PLATFORM:-}" ] || arguments+=(--platform "$ACTION_PLATFORM")

count=0
if [ -n "${ACTION_FILES:-}" ]; then
	while IFS= read -r file; do
		[ -z "$file" ] || { arguments+=(--file "$file") && count=$((count + 1)); }
	done <<<"$ACTION_FILES"
else
	cd "$(git rev-parse --show-toplevel)"
	list=$(mktemp)
	changed >"$list"
	while IFS= read -r -d '' file; do
		if manifest "./$file"; then # a name may begin with a dash
			arguments+=(--file "./$file")
			count=$((count + 1))
		fi
	done <"$list"
	rm -f "$list"
fi
[ "$count" -gt 0 ] || arguments+=(--file -) # nothing; the output is still written

status=0
if [ -n "${ACTION_OUTPUT_FILE:-}" ]; then
	"$whypull" "${arguments[@]}" >"$ACTION_OUTPUT_FILE" </dev/null || status=$?
	printf 'whypull action: exit status %d, output in %s\n' "$status" "$ACTION_OUTPUT_FILE"
else
	"$whypull" "${arguments[@]}" </dev/null || status=$?
fi
exit "$status"
