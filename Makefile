# Everything runs from .venv, which the first target that needs it makes. Needs make, Python 3.11 or newer, and pip's index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DISTRIBUTIONS := shared services/api services/deployer services/dataset-gateway services/metrics trainer cli
PACKAGES := stoker_shared stoker_api stoker_deployer stoker_dataset_gateway stoker_metrics stoker_trainer stoker tools
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq
PYTEST := $(BIN)/python -m pytest

# Workers of pytest, each with its own servers; one more than cores, because tests wait for much.
# `make test JOBS=0` runs in one process, for a debugger.
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help install demo demo-runpod test test-all test-live-runpod lint bench bench-check bench-submit bench-delivery bench-token bench-reconcile bench-live bench-ingest bench-reporter bench-chart bench-pod-start chaos chaos-kill soak faults-runpod up bundle clean

help: ## list what make can do
	@echo "Stoker"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

install: $(VENV)/.ready ## install everything into .venv; the other targets do it by themselves

demo: $(VENV)/.ready ## from nothing to a fine-tuned model through every service
	$(BIN)/python -m stoker.demo

demo-runpod: $(VENV)/.ready ## the same on a rented pod: a simulated RunPod runs the pod's script for real
	$(BIN)/python -m stoker.demo --provider runpod --folder .demo-runpod

up: $(VENV)/.ready ## the whole system on this machine, until Ctrl-C
	$(BIN)/stoker up

test: $(VENV)/.ready ## unit, contract, property, integration and end-to-end tests on real servers
	@echo "Tests without the marks slow, chaos and soak, $(JOBS) at a time"
	$(PYTEST) -n $(JOBS) --dist loadfile -m "not slow and not chaos and not soak" $(wildcard tests/unit tests/contract tests/property tests/integration tests/e2e)

test-all: $(VENV)/.ready ## every test, the slow ones and the killing ones too
	@echo "All tests but those that kill and the soak, $(JOBS) at a time; then those that kill, one after the other"
	$(PYTEST) -n $(JOBS) --dist loadfile -m "not chaos and not soak" tests
	$(PYTEST) -m chaos tests

test-live-runpod: $(VENV)/.ready ## the cheapest real pod, for less than a dollar, with the key in RUNPOD_API_KEY
	@if [ -z "$$RUNPOD_API_KEY" ]; then echo "Skipped: RUNPOD_API_KEY is not set, so the real RunPod was not tried"; \
	else STOKER_LIVE_RUNPOD=1 $(PYTEST) -s -v tests/live; fi

chaos: $(VENV)/.ready ## kill each part in each state of a job, race two deployers, break the network; prints a table
	@echo "Kills parts of a running stack in each state of a job, about half an hour; CHAOS='-k postgres' runs some"
	$(PYTEST) -q -m chaos --show-capture=no tests/chaos $(CHAOS)

soak: $(VENV)/.ready ## 200 pods report for half an hour while metrics service, broker and database are killed
	@echo "Kills what the pods report to, again and again; then every point and line is counted"
	$(PYTEST) -s -m soak tests/integration/metrics/test_soak.py

chaos-kill: $(VENV)/.ready ## the part of make chaos that kills while a job trains
	$(PYTEST) -q -m chaos --show-capture=no tests/chaos/test_kill.py -k training

faults-runpod: $(VENV)/.ready ## one job for each fault of a simulated RunPod; prints what each costs
	@echo "Breaks a simulated RunPod in 24 ways, about half an hour; FAULTS='-k capacity' runs some"
	$(PYTEST) -q -m chaos --show-capture=no tests/chaos_runpod $(FAULTS)

lint: $(VENV)/.ready ## ruff, mypy --strict, import rules, our own rules
	@echo "ruff: faults and form"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "mypy --strict: types of all packages"
	@$(BIN)/mypy --strict $(addprefix -p ,$(PACKAGES))
	@echo "import-linter: who may import whom"
	@$(BIN)/lint-imports
	@echo "tools.checks: our own rules"
	@$(BIN)/python -m tools.checks

bench: $(VENV)/.ready ## every benchmark; each prints a ratio against a named rival in the same run
	@set -e; for file in benchmarks/bench_*.py; do \
		name=$$(basename $$file .py); echo "$$name"; $(BIN)/python -m benchmarks.$$name; done

bench-check: $(VENV)/.ready ## the whole-file check of a million chat rows
	$(BIN)/python -m benchmarks.bench_check

bench-submit: $(VENV)/.ready ## from a submitted job to its command at the deployer
	$(BIN)/python -m benchmarks.bench_submit

bench-delivery: $(VENV)/.ready ## a file of 1 GiB through the gateway, by redirect, from the store, from nginx
	$(BIN)/python -m benchmarks.bench_delivery

bench-token: $(VENV)/.ready ## download tokens minted and validated per second
	$(BIN)/python -m benchmarks.bench_token

bench-reconcile: $(VENV)/.ready ## two deployers that watch 100, 1,000 and 10,000 live jobs
	$(BIN)/python -m benchmarks.bench_reconcile

bench-live: $(VENV)/.ready ## from the post of a step to its arrival on 1, 100 and 1,000 streams
	$(BIN)/python -m benchmarks.bench_live

bench-ingest: $(VENV)/.ready ## points of pods into the metrics service, against MLflow's server and trackio's
	$(BIN)/python -m benchmarks.bench_ingest

bench-reporter: $(VENV)/.ready ## what reporting costs a training step, against none and against TRL's own logging
	$(BIN)/python -m benchmarks.bench_reporter

bench-pod-start: $(VENV)/.ready ## from a pod's container start to its first training step, by stage
	$(BIN)/python -m benchmarks.bench_pod_start

bench-chart: $(VENV)/.ready ## the first full chart of a run of a million points, against MLflow; fetches MLflow the first time
	$(BIN)/python -m benchmarks.bench_chart

bundle: $(VENV)/.ready ## the trainer as one archive in dist/, with its SHA-256; the same bytes from the same sources
	@$(BIN)/python -m tools.bundle

clean: ## remove .venv, caches and what the demo left
	@echo "Removing $(VENV), .demo, .demo-runpod, dist and caches"
	@rm -rf $(VENV) .demo .demo-runpod dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps: the pinned packages take minutes, our own distributions seconds.
$(VENV)/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Stoker needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`. Try make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "The module venv is missing (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }; }
	@echo "Installing the packages of requirements.lock into $(VENV) (some minutes the first time)"
	@$(PIP) -r requirements.lock
	@touch $@

$(VENV)/.ready: $(VENV)/.locked $(DISTRIBUTIONS:%=%/pyproject.toml)
	@echo "Installing Stoker's own packages, editable"
	@$(PIP) --no-deps --no-build-isolation $(addprefix --editable ,$(DISTRIBUTIONS:%=./%))
	@$(BIN)/python -m pip --disable-pip-version-check check
	@touch $@
