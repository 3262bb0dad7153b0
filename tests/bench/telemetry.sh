#!/usr/bin/env bash
# What telemetry and TLS cost: three hosts side by side, called in turns, with durable SQLite in memory and one memcached.
#
#   plain   nothing but what every host has
#   traced  one request in a hundred is traced and sent to a collector, exemplars with it; its page is open, and it is scraped, each second
#   tls     TLS on the public listener
#
# Prints registrations a second: each round, and the medians. Usage: tests/bench/telemetry.sh target/release/namelock handler.wasm
set -euo pipefail
host=$(realpath "$1") handler=$(realpath "$2") rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-5}
folder=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)")
pids=()
finish() {
    kill "${pids[@]}" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$folder/key" -out "$folder/crt" 2>/dev/null
memcached=$(free) collector=$(free)
memcached -u "$(id -un)" -U 0 -l 127.0.0.1 -p "$memcached" -m 256 -M -o no_slab_automove & pids+=($!)
python3 -c '
import http.server, sys
class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Collector).serve_forever()' "$collector" & pids+=($!)

cat >"$folder/register.lua" <<'LUA'
local id, n
function init() math.randomseed(os.time() + os.clock() * 1e6); id, n = math.random(1, 1e12), 0 end
function request()
    n = n + 1
    return wrk.format("POST", "/v1/demo/names", nil, string.format('{"name":"n%d-%d","owner":"ann"}', id, n))
end
LUA
declare -A public admin
for kind in plain traced tls; do
    mkdir -p "$folder/$kind/tenants/demo"
    cp "$handler" "$folder/$kind/tenants/demo/handler.wasm"
    {
        case $kind in
        traced) printf '[trace]\notlp = "http://127.0.0.1:%s"\none_in = 100\nrate = 10000\n' "$collector" ;;
        tls) printf '[http]\ntls_certificate = "%s/crt"\ntls_key = "%s/key"\n' "$folder" "$folder" ;;
        esac
        for section in limits limits.max; do
            printf '[%s]\ncalls = 4096\ncalls_waiting = 4096\nrate = 1000000\nburst = 1000000\nwrite_rate = 1000000\n' $section
            printf 'read_rate = 1000000\nregistrations = 100000000\nregistration_bytes = "64GiB"\n'
        done
    } >"$folder/$kind/namelock.toml"
    public[$kind]=$(free) admin[$kind]=$(free)
    (cd "$folder/$kind" && exec env NAMELOCK_LOG=error "$host" serve --config namelock.toml --listen "127.0.0.1:${public[$kind]}" \
        --admin "127.0.0.1:${admin[$kind]}" --lock "memcached://127.0.0.1:$memcached" --cache cache >out) & pids+=($!)
done
for kind in plain traced tls; do
    until curl -sf -o /dev/null "http://127.0.0.1:${admin[$kind]}/readyz"; do sleep 0.1; done
done
(while sleep 1; do curl -s "http://127.0.0.1:${admin[traced]}/"{overview,metrics} >/dev/null; done) & pids+=($!)

round() {
    local kind=$1 scheme=http
    [ "$kind" = tls ] && scheme=https
    wrk -t1 -c64 "-d${seconds}s" -s "$folder/register.lua" "$scheme://127.0.0.1:${public[$kind]}"
}
for kind in plain traced tls; do seconds=2 round $kind >/dev/null; done # the first calls of a host are others
for ((n = 1; n <= rounds; n++)); do
    for kind in plain traced tls; do
        said=$(round $kind)
        grep -q Non-2xx <<<"$said" && { echo "$kind: not all were registered: $said" >&2; exit 1; }
        awk -v kind=$kind '/Requests\/sec/ { print kind, $2 }' <<<"$said" | tee -a "$folder/all"
    done
done
python3 - "$folder/all" <<'P'
import statistics, sys
rounds = {}
for line in open(sys.argv[1]):
    kind, rate = line.split()
    rounds.setdefault(kind, []).append(float(rate))
medians = {kind: statistics.median(rates) for kind, rates in rounds.items()}
for kind, median in medians.items():
    print(f"{kind:7} {median:8.0f}/s  {100 * median / medians['plain'] - 100:+.1f} %")
P
