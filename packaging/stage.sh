#!/bin/sh
# Lays out what is shipped with a binary: its pages of man and its completions, which it writes itself.
#   packaging/stage.sh BINARY DIRECTORY
set -eu
binary=$1
stage=$2
rm -rf "$stage"
mkdir -p "$stage/bin" "$stage/man" "$stage/completions" "$stage/packaging"
# Not stripped: a backtrace in a log and a profile name functions by these symbols, and debug information is not in it.
install -m 0755 "$binary" "$stage/bin/namelock"
"$binary" man --dir "$stage/man"
# Sizes of pages differ from one gzip to the next, but not with the time.
gzip -9n "$stage"/man/*.1
"$binary" completions bash >"$stage/completions/namelock"
"$binary" completions zsh >"$stage/completions/_namelock"
"$binary" completions fish >"$stage/completions/namelock.fish"
gzip -9nc CHANGELOG.md >"$stage/changelog.gz"
# The time of the last commit, or that of whoever builds it as a distribution does: the same sources make the same files.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
cat >"$stage/changelog.Debian" <<END
namelock ($("$binary" --version | cut -d ' ' -f 2)-1) unstable; urgency=medium

  * What has changed is in changelog.gz.

 -- The namelock authors <maintainers@namelock.invalid>  $(LC_ALL=C date --utc --rfc-email --date="@$epoch")
END
for file in namelock.service namelock-http.socket namelock.sysusers namelock.toml namelock.default kubernetes.yaml Dockerfile; do
    install -m 0644 "packaging/$file" "$stage/packaging/$file"
done
install -m 0644 LICENSE-APACHE LICENSE-MIT README.md CHANGELOG.md SECURITY.md "$stage/"
cp -r docs "$stage/docs"
