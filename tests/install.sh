#!/bin/sh
# Installs a program of this name by the platform's package manager where it may; else says what to do.
set -eu
program=$1
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing $program"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    # The package would start a server of its own; the tests start theirs.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
    fi
    apt-get install -q -y --no-install-recommends "$program" >/dev/null
else
    echo "the tests need $program: install it (Debian and Ubuntu: sudo apt-get install $program)" >&2
    exit 1
fi
