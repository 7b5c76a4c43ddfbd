# Everything here needs only Python 3.11 or newer and make. The first call sets up .venv; later calls start at once.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROUNDS ?= 50
WORKERS ?= 5

.DEFAULT_GOAL := help
.PHONY: help run test test-unit fuzz check fix docs loadtest bench bench-broker bench-peers counts kill-test faults faults-amplitude faults-workflows faults-recovery faults-migration drills image-test manifests newcomer lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

# A stamp per lock file, so that nothing is checked with the package index unless a lock file changed.
# Set-up may be interrupted at any moment, and started twice: one make at a time holds a lock on the
# Makefile; an environment that was not made whole is made anew; while a mark tells that an
# installation did not end, every package is installed again. The stamp comes last.
ALONE := exec 9<Makefile; $(PYTHON) -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null || { \
	echo "Waiting for another make that sets up $(VENV)…"; $(PYTHON) -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2>/dev/null; }
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

$(VENV)/.runtime: requirements.lock pyproject.toml
	@test -e $@ || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sluice needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@$(ALONE); set -e; \
	if test $@ -nt requirements.lock && test $@ -nt pyproject.toml; then exit 0; fi; \
	if ! { test -e $@ || test -e $@.begun; } || ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
		echo "Making $(VENV)…"; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi; \
	again=; if test -e $@.begun; then again=--force-reinstall; echo "All of it again, because it was interrupted."; fi; \
	echo "Installing what Sluice needs into $(VENV), only once: one to two minutes, in which nothing is printed…"; \
	touch $@.begun; \
	$(PIP) $$again --require-hashes -r requirements.lock; \
	$(PIP) --no-build-isolation --editable .; \
	rm $@.begun; touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@$(ALONE); set -e; \
	if test $@ -nt requirements-dev.lock && test $@ -nt $(VENV)/.runtime; then exit 0; fi; \
	echo "Installing the tools for tests and checks…"; \
	again=; if test -e $@.begun; then again=--force-reinstall; fi; \
	touch $@.begun; \
	$(PIP) $$again --require-hashes -r requirements-dev.lock; \
	rm $@.begun; touch $@

# Real clients that tests run, in environments of their own: what they depend on is none of Sluice's.
$(VENV)/.peers: tests/peers/requirements.lock tests/peers/package-lock.json $(VENV)/.dev
	@$(ALONE); set -e; \
	if test $@ -nt tests/peers/requirements.lock && test $@ -nt tests/peers/package-lock.json; then exit 0; fi; \
	echo "Installing the clients that tests run…"; \
	$(PYTHON) -m venv --clear $(VENV)/peers; \
	$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r tests/peers/requirements.lock; \
	if command -v npm >/dev/null; then npm ci --prefix tests/peers --silent --ignore-scripts --no-audit --no-fund; \
	else echo "npm is not here: tests that need Node are left out, or fail under CI=true."; fi; \
	touch $@

run: $(VENV)/.runtime ## start everything on embedded defaults (ARGS="--port 9000" for options)
	@exec $(BIN)/sluice run $(ARGS)

test: $(VENV)/.peers ## every test, in parallel
	@# Compiled modules are kept, whatever the environment says: tests start Sluice hundreds of times.
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

test-unit: $(VENV)/.dev ## the tests that do no I/O: before each commit
	$(BIN)/python -m pytest -q tests/unit $(ARGS)

fuzz: $(VENV)/.dev ## the property tests and the API's fuzzer with 25 times as many examples
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -o timeout=7200 --hypothesis-profile=fuzz tests/unit tests/integration/test_openapi_fuzz.py $(ARGS)

check: $(VENV)/.dev ## format, lint, types, import contracts, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m sluice.cli.docs --check

fix: $(VENV)/.dev ## format and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## write the generated tables anew
	$(BIN)/python -m sluice.cli.docs

loadtest: $(VENV)/.dev ## send load to a Sluice of its own, or to yours; lists its scenarios (ARGS="run track --seconds 10")
	@$(BIN)/sluice-loadtest $(or $(ARGS),list)

bench: $(VENV)/.dev ## the ratios of docs/performance.md
	$(BIN)/python -m loadtest.bench $(ARGS)

bench-broker: $(VENV)/.dev ## the same for Pub/Sub as the queue (needs Google's emulator)
	$(BIN)/python -m loadtest.broker $(ARGS)

kill-test: $(VENV)/.dev ## kill -9 at random under load; make kill-test ROUNDS=50
	$(BIN)/python -m tests.faults.kill_test --rounds $(ROUNDS) $(ARGS)

faults: $(VENV)/.dev ## break everything around a distributed Sluice on Pub/Sub's emulator, and count (ARGS="--only outage")
	$(BIN)/python -m tests.faults.broker --rounds $(ROUNDS) $(ARGS)

faults-amplitude: $(VENV)/.dev ## everything that may happen on the way to Amplitude, and count (ARGS="--kills 20")
	$(BIN)/python -m tests.faults.forwarding $(ARGS)

faults-workflows: $(VENV)/.dev ## kill a worker at every place of every shipped workflow (ARGS="--only ingest")
	$(BIN)/python -m tests.faults.workflows $(ARGS)

drills: $(VENV)/.dev ## make the fault of each alert, and mend it by its runbook (needs prometheus; ARGS="--only NAME")
	$(BIN)/python -m tests.drills $(ARGS)

faults-recovery: $(VENV)/.dev ## lose ClickHouse, a spool, a whole machine; follow docs/recovery.md, and count
	$(BIN)/python -m tests.faults.recovery $(ARGS)

faults-migration: $(VENV)/.dev ## from the first schema to the newest under load, and count
	$(BIN)/python -m tests.faults.migration $(ARGS)

image-test: $(VENV)/.dev ## build the container image without an engine, look into it, run it (Debian, root)
	$(BIN)/python -m tests.containers $(ARGS)

manifests: $(VENV)/.dev ## render k8s/ and hold it to its rules; nothing is applied
	$(BIN)/python -m pytest -q tests/k8s $(ARGS)

newcomer: $(VENV)/.dev ## follow the README in a fresh clone, and time it (ARGS="--port 9000" where 8080 is taken)
	$(BIN)/python -m tests.docs.newcomer $(ARGS)

lock: ## resolve the lock files anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml --extra build -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -c requirements.lock pyproject.toml --extra build --extra dev -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header tests/containers/requirements.in -o tests/containers/requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header loadtest/peers/requirements.in -o loadtest/peers/requirements.lock

# The service with default habits that figures are compared with, in an environment of its own.
$(VENV)/.loadtest-peers: loadtest/peers/requirements.lock $(VENV)/.dev
	@$(ALONE); set -e; \
	if test $@ -nt loadtest/peers/requirements.lock; then exit 0; fi; \
	echo "Installing the peer that is measured beside Sluice…"; \
	$(PYTHON) -m venv --clear $(VENV)/loadtest-peers; \
	$(VENV)/loadtest-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r loadtest/peers/requirements.lock; \
	touch $@

bench-peers: $(VENV)/.loadtest-peers ## Sluice beside a FastAPI service with default habits (needs Google's emulator)
	$(BIN)/python -m loadtest.peers.ratio $(ARGS)

counts: $(VENV)/.dev ## what an event costs in steps and memory, beside the kept figures (ARGS=--write keeps new ones)
	$(BIN)/python -m loadtest.counts $(ARGS)

clean: ## remove what set-up and runs left (not your data)
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .hypothesis .pytest_cache
