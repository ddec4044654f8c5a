# The project's commands; `make` alone lists them. CI calls the same targets.
# Each recipe is one simple command, or ends with `exec`, so that no shell comes between the command and make,
# which forwards SIGTERM.

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The Python that creates the virtual environment: make up PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
RIVALS_READY := .venv-bench/.ready
# Python must find the modules in this folder, even if the shell sets this variable for other projects.
unexport PYTHONSAFEPATH
USERS ?= 20
RATE ?= 50
SECONDS ?= 30
FOLLOW ?=
TESTS ?=
# Most tests wait for a process or a socket, so two run on each core.
TEST_PROCESSES ?= $(shell expr 2 '*' "$$(getconf _NPROCESSORS_ONLN)")

##@ The stack: in containers where they can be had, else natively; RUNTIME=compose or native decides
.PHONY: up down status doctor logs kill pause resume start
up: $(READY) ## start everything, send an order through it, read its trace back
	@$(BIN)/python -m stack up
down: $(READY) ## stop everything; the data stays
	@$(BIN)/python -m stack down
status: $(READY) ## every part: state, process, memory
	@$(BIN)/python -m stack status
doctor: $(READY) ## what is up, what is not, why, and what to do
	@$(BIN)/python -m stack doctor
logs: $(READY) ## a part's log: make logs PART=collector [FOLLOW=1]
	@$(BIN)/python -m stack logs $(call part) $(if $(FOLLOW),--follow)
kill: $(READY) ## end a part at once: make kill PART=collector
	@$(BIN)/python -m stack kill $(call part)
pause: $(READY) ## freeze a part: make pause PART=collector
	@$(BIN)/python -m stack pause $(call part)
resume: $(READY) ## let a frozen part go on: make resume PART=collector
	@$(BIN)/python -m stack resume $(call part)
start: $(READY) ## start a part again: make start PART=collector
	@$(BIN)/python -m stack start $(call part)

##@ Demo
.PHONY: demo
demo: $(READY) ## an outage in a minute, with Python alone: watch the breaker, the spool and the ledger
	@$(BIN)/python -m demo

##@ Load
.PHONY: load load-ui
load: $(READY) ## shoppers for a while: make load USERS=20 RATE=50 SECONDS=30
	@$(BIN)/python -m loadtest run --users $(USERS) --rate $(RATE) --seconds $(SECONDS)
load-ui: $(READY) ## Locust's own page, on port 8089
	@$(BIN)/python -m loadtest ui

##@ The load lab: a verdict, a page and a picture each, in reports/
.PHONY: outage tune sampling
outage: $(READY) ## break it under load: make outage FAULT=kill|pause|slow|flap|disk RATE=50 SECONDS=20
	@$(BIN)/python -m loadtest outage
tune: $(READY) ## find the cheapest batch size and delay: make tune [FRESHNESS=1s] [QUICK=1] [BATCHES=64,512 DELAYS=200,1000]
	@$(BIN)/python -m loadtest tune
sampling: $(READY) ## head and tail sampling against what they promise: make sampling [RATIOS=0.01,0.1,1]
	@$(BIN)/python -m loadtest sampling

##@ Development
.PHONY: test test-pythons soak mutants bench-export bench-import bench-recovery bench-request test-stack test-compose lint format lock dashboards docs clean help
test: $(READY) lint ## lint, types and the tests that need no stack
	@$(BIN)/coverage erase
	@exec $(BIN)/pytest -m "not stack and not compose and not soak" -n $(TEST_PROCESSES) --dist worksteal --durations=20 --cov --cov-report=term
test-pythons: $(READY) ## the library's tests on Python 3.12, 3.13 and 3.14, those that are there
	@$(BIN)/python -m requirements.pythons
soak: $(READY) ## the long tests: a thousand kills, an outage of ten minutes
	@$(BIN)/pytest -m soak
mutants: $(READY) ## changes in the code that no test notices: tries a sample of 400, some hours: [QUICK=1]
	@exec $(BIN)/python -m mutation $(if $(QUICK),--quick)
bench-export: $(READY) ## our export engine beside the stock one, about ten minutes: CPU, throughput, latency, memory
	@$(BIN)/python -m benchmarks.export
bench-request: $(RIVALS_READY) ## a request's cost beside the stock instrumentation and the rivals, a quarter of an hour: [QUICK=1]
	@.venv-bench/bin/python -m benchmarks.request $(if $(QUICK),--quick)
bench-recovery: $(READY) ## how soon exports go on after an outage, and what the Collector gets then, five minutes: [QUICK=1]
	@$(BIN)/python -m benchmarks.recovery $(if $(QUICK),--quick)
bench-import: $(READY) ## CPU of the import, beside the stock packages', half a minute
	@$(BIN)/python -m benchmarks.import_time
test-stack test-compose: export PROGRAMS_FROM = build
test-stack: $(READY) ## the tests on the real programs, beside a stack that runs: make test-stack [TESTS=tests/stack/test_stack.py]
	@$(BIN)/python -m stack build
	@$(BIN)/pytest -m stack $(TESTS)
test-compose: $(READY) ## what containers change, on compose.yaml's; needs a Docker engine
	@$(BIN)/python -m stack build
	@$(BIN)/pytest -m compose $(TESTS)
lint: $(READY) ## ruff, mypy, and who may import whom
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
format: $(READY) ## let ruff format and mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format
# Pins keep their extras: without them, pip before version 25 would look for the newest release again.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links --no-header
lock: $(READY) ## compile requirements/*.txt, and the Collector's sources from their manifest
	$(COMPILE) requirements/dev.in -o requirements/dev.txt
	$(COMPILE) requirements/service.in -c requirements/dev.txt -o requirements/service.txt
	$(COMPILE) requirements/loadtest.in -c requirements/dev.txt -o requirements/loadtest.txt
	$(COMPILE) requirements/bench.in -o requirements/bench.txt
	$(COMPILE) requirements/go.in -o requirements/go.txt
	$(COMPILE) requirements/uv.in -c requirements/dev.txt -o requirements/uv.txt
	cd stack/native/modules/collector && ./regenerate
dashboards: $(READY) ## write grafana/dashboards from their Python
	$(BIN)/python -m grafana.generate
docs: $(READY) ## write docs/configuration.md from the settings
	$(BIN)/python -m docs.generate
clean: ## stop the stack; remove its data, the virtual environment and every tool's cache
	@if [ -x $(BIN)/python ] || ls -d .stack .stack-* >/dev/null 2>&1; then \
		$(MAKE) --silent $(READY) && exec $(BIN)/python -m stack clean; fi
	@if [ -e .stack-runs ]; then echo "another run is left, which needs .venv: it stays"; exit; fi; set -x; \
	rm -rf .venv .venv-bench .mutants .uv .pythons .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .stack*.lock .venv.lock
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

part = $(if $(PART),$(PART),$(error name the part: make $@ PART=collector (storefront, inventory, collector, jaeger, prometheus, console or grafana)))

# A finished `.venv` is checked again if PYTHON is given, its Python is gone, or the folder was moved.
IS_WHOLE := $(shell [ -x $(BIN)/python ] && [ "$$(cat $(READY) 2>/dev/null)" = "$(CURDIR)" ] && echo yes)
ifneq ($(origin PYTHON) $(IS_WHOLE),file yes)
LOOK_AGAIN := look-again
endif
.PHONY: look-again
look-again:

# The stamp is written last, so an interrupted setup is continued.
$(READY): requirements/dev.txt requirements/uv.txt requirements/install.py pyproject.toml $(LOOK_AGAIN)
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is older or absent: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m requirements.install

# What `make bench-request` compares with. A new `.venv` may be of another Python.
$(RIVALS_READY): $(READY) requirements/bench.txt requirements/bench.py
	@$(BIN)/python -m requirements.bench
