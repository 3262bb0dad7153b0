#!/bin/sh
# Writes SHA256SUMS of all files in a directory; there, `sha256sum --check SHA256SUMS` compares.
#   packaging/checksums.sh DIRECTORY
set -eu
cd "$1"
rm -f SHA256SUMS
sha256sum -- * >.sums
mv .sums SHA256SUMS
