#!/bin/bash
# What an operator does with the package; runs in the container that boot.sh has booted.
set -Eeuo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
unset NOTIFY_SOCKET
trap 'echo "failed in line $LINENO"; journalctl --boot --unit namelock --no-pager --output cat | tail -20' ERR

is() {
    [ "$2" = "$3" ] || { echo "$1: it is $2 and should be $3"; return 1; }
    echo "ok: $1"
}
shown() { systemctl show namelock --value --property "$1"; }
eventually() {
    local what=$1; shift
    for _ in $(seq 600); do if "$@" 2>/dev/null; then echo "ok: $what"; return; fi; sleep 0.1; done
    echo "never: $what"; return 1
}
status() { curl --silent --max-time 60 --output /dev/null --write-out '%{http_code}' "$@"; }
logged() { journalctl --boot --unit namelock --no-pager --output cat | grep "$@" >/dev/null; }
names=127.0.0.1:8080/v1/demo/names
drop_in() {
    mkdir -p /etc/systemd/system/namelock.service.d
    printf '[Service]\n%s\n' "$1" >/etc/systemd/system/namelock.service.d/test.conf
    systemctl daemon-reload
}
no_drop_in() { rm /etc/systemd/system/namelock.service.d/test.conf; systemctl daemon-reload; }

ip link set lo up 2>/dev/null || true
dpkg --install /srv/namelock.deb >/srv/dpkg.log 2>&1
is 'the package starts a host' "$(systemctl is-active namelock)" active
is 'systemd knows the type of the unit' "$(shown Type)" notify-reload
is 'the host says where it listens' "$(shown StatusText)" 'listening on http://127.0.0.1:8080 (admin http://127.0.0.1:8081)'
is 'it has no rights of root' "$(sed -n 's/^CapBnd:\t//p' "/proc/$(shown MainPID)/status")" 0000000000000000
is 'its system calls are filtered' "$(sed -n 's/^Seccomp:\t//p' "/proc/$(shown MainPID)/status")" 2

install -d -o root -g namelock -m 0750 /etc/namelock/tenants/demo
install -m 0644 /srv/handler.wasm /etc/namelock/tenants/demo/handler.wasm
systemctl reload namelock
logged 'reading the tenants again'
is 'a reload ends when the tenants were read' "$(systemctl is-active namelock)" active
serves() { [ "$(status $names --data '{"name":"a","owner":"ann"}')" = 201 ]; }
eventually 'a tenant is compiled and served with all that the unit forbids' serves
if logged 'cannot confine'; then echo 'its compiler is not confined'; false; fi

sed -i 's/^\[http\]/[http]\nlame_duck = "100ms"/' /etc/namelock/namelock.toml
systemctl stop namelock
systemctl enable --quiet --now namelock-http.socket
systemctl start namelock
: >/srv/answers
( while [ ! -e /srv/enough ]; do status $names/a >>/srv/answers; echo >>/srv/answers; done ) &
for _ in 1 2 3; do systemctl restart namelock; done
touch /srv/enough; wait $!
is 'no call fails while a host on the socket is started again' "$(sort -u /srv/answers)" 200

drop_in 'WatchdogSec=2'
systemctl restart namelock
kill -STOP "$(shown MainPID)"
restarted() { [ "$(shown NRestarts)" = 1 ] && [ "$(systemctl is-active namelock)" = active ]; }
eventually 'a host that stands still is started again' restarted
no_drop_in

systemctl restart namelock
kill -KILL "$(shown MainPID)"
eventually 'a host that was killed is started again' restarted
is 'the name is still there' "$(status $names/a)" 200

# The reason for MemoryDenyWriteExecute=no. When this fails, it can be yes.
drop_in 'MemoryDenyWriteExecute=yes'
systemctl restart namelock
is 'no handler runs where code cannot be made executable' "$(status $names/b --data '{}' --request DELETE)" 503
logged 'failed to make memory executable'
no_drop_in

cp /etc/namelock/namelock.toml /srv/good.toml
echo 'nonsense = 1' >/etc/namelock/namelock.toml
systemctl restart namelock 2>/dev/null && { echo 'a wrong configuration was accepted'; false; }
is 'a wrong configuration is not tried again' "$(shown ExecMainStatus) $(shown NRestarts)" '2 0'
cp /srv/good.toml /etc/namelock/namelock.toml
systemctl start namelock

is 'man has a page' "$(man --pager=cat namelock-serve | sed -n 4p | cut -c 8-21)" namelock-serve
dpkg --purge namelock >>/srv/dpkg.log 2>&1
is 'nothing of it is enabled any more' "$(find /etc/systemd -name '*namelock*.so*' -o -name 'namelock.service')" ''
[ -e /var/lib/namelock/names.db ] && echo 'ok: registrations stay'
[ ! -e /usr/bin/namelock ] && echo 'ok: the program is gone'
