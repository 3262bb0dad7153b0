#!/bin/sh
# Writes what the binary is made of, as CycloneDX: every crate with its version, licence and where it is from.
#   packaging/sbom.sh FILE
set -eu
case $1 in
    /*) file=$1 ;;
    *) file=$PWD/$1 ;;
esac
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# The tool leaves a file beside the manifest of each crate of the workspace.
git ls-files -z | tar --create --null --files-from=- | tar --extract --directory "$copy"
(cd "$copy" && cargo cyclonedx --quiet --manifest-path host/server/Cargo.toml --describe binaries --no-build-deps \
    --format json --spec-version 1.5)
# Where it was made says nothing of what is in it.
sed "s,file://$copy,file:///namelock,g" "$copy/host/server/namelock_bin.cdx.json" >"$file"
echo "$file"
