#!/bin/bash
# Boots Debian 13 with a systemd of its own in a container, installs the package there, and does with the unit what an operator does.
#   tests/packaging/boot.sh PACKAGE COMPONENT
# As root. Debian's packages have to be reached. The container has no network but its own loopback.
set -euo pipefail
package=$(realpath "$1")
component=$(realpath "$2")
here=$(cd "$(dirname "$0")" && pwd)
# Kept, because it takes half a minute; each run has a copy.
base=${BOOT_BASE:-$(git -C "$here" rev-parse --show-toplevel)/target/boot/base}
if [ ! -e "$base/etc/debian_version" ]; then
    echo 'installing Debian 13 into a directory, once'
    mkdir -p "$(dirname "$base")"
    mmdebstrap --quiet --variant=apt --include=systemd,systemd-sysv,dbus,curl,man-db trixie "$base" http://deb.debian.org/debian
fi
root=$(mktemp -d)
name=namelock-$$
groups=()
finish() {
    [ -z "${nspawn:-}" ] || { kill "$nspawn" 2>/dev/null || true; wait "$nspawn" 2>/dev/null || true; }
    for group in "${groups[@]}"; do find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true; done
    rm -rf "$root"
}
trap finish EXIT
cp -a "$base/." "$root/"
install -m 0644 "$package" "$root/srv/namelock.deb"
install -m 0644 "$component" "$root/srv/handler.wasm"
install -m 0755 "$here/use.sh" "$root/srv/use.sh"

# Where this machine has no systemd that would give the container a control group, it gets one here.
for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -e "$hierarchy/cgroup.procs" ] && [ ! -d /run/systemd/system ]; then
        mkdir "$hierarchy/$name"
        groups+=("$hierarchy/$name")
    fi
done
(
    for group in "${groups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
    # nspawn has a filter of system calls too, and the version of Debian 12 does not know Landlock.
    exec systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --private-network --machine="$name" \
        --system-call-filter='landlock_create_ruleset landlock_add_rule landlock_restrict_self' --boot
) </dev/null >"$root/srv/boot.log" 2>&1 &
nspawn=$!
leader=
for _ in $(seq 600); do
    leader=$(pgrep --parent "$nspawn" --exact systemd || true)
    within=(nsenter --target "$leader" --mount --pid --uts --ipc --net --cgroup)
    if [ -n "$leader" ] && "${within[@]}" systemctl is-system-running --quiet 2>/dev/null; then break; fi
    if [ -n "$leader" ] && [ "$("${within[@]}" systemctl is-system-running 2>/dev/null)" = degraded ]; then break; fi
    kill -0 "$nspawn" 2>/dev/null || { cat "$root/srv/boot.log"; exit 1; }
    sleep 0.2
done
"${within[@]}" /srv/use.sh
