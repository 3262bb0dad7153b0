#!/bin/sh
# Makes an archive of what packaging/stage.sh has laid out, the same bytes from the same files.
#   packaging/archive.sh STAGE DIST
set -eu
stage=$1
dist=$2
version=$("$stage/bin/namelock" --version | cut -d ' ' -f 2)
expected=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
if [ "$version" != "$expected" ]; then
    echo "the binary is of version $version and Cargo.toml of $expected: build it anew, or give the right one as BINARY" >&2
    exit 1
fi
name="namelock-$version-$(uname -m)-linux"
# The time of the last commit, or that of whoever builds it as a distribution does.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
mkdir -p "$dist"
tar --create --directory "$stage" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u+w,go-w \
    --transform "s,^\.,$name," . | gzip -9n >"$dist/$name.tar.gz"
echo "$dist/$name.tar.gz"
