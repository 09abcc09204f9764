# Everything runs in .venv, which the first target that needs it sets up; a second run is quick.

# The first that runs: a command of that name may be a shim with nothing behind it.
USABLE := import sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
  "$$name" -c '$(USABLE)' 2>/dev/null && echo "$$name" && break; done)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Go programs are built before the tests, whose time limits they would exceed on a new machine.
PEERS := $(BIN)/python -m tests.interop.peers
CASES ?= 100000
MINUTES ?= 10
SOURCES := $(wildcard micro plugins examples benchmarks tests)

.DEFAULT_GOAL := help

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

.venv/ready: pyproject.toml
	@$(or $(PYTHON),false) -c '$(USABLE)' || \
	  { echo 'Python 3.11 or later is needed: make PYTHON=/path/to/python ...' >&2; exit 2; }
	@echo "==> setting up .venv with $(PYTHON)"
	@$(BIN)/python -c '$(USABLE)' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: .venv/ready  ## Make .venv with all that the other targets need

demo: .venv/ready  ## Run the shop: orders, points and notifications on a local nats-server
	@$(BIN)/python -m examples.shop

test: .venv/ready  ## Run every test but the slow ones
	@$(PEERS)
	@echo "==> running the tests"
	@$(PYTEST) -m 'not slow' -n 2 --dist loadgroup

cover: .venv/ready  ## Run the tests and show what they do not reach
	@$(BIN)/python -m pip install --quiet pytest-cov
	@$(PEERS)
	@$(PYTEST) -m 'not slow' -n 2 --dist loadgroup --cov=micro --cov=plugins --cov-report=term-missing:skip-covered

fmt: .venv/ready  ## Format the sources
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

check: .venv/ready  ## Lint, format, types and layers
	@echo "==> ruff" && $(BIN)/ruff check $(SOURCES) && $(BIN)/ruff format --check $(SOURCES)
	@echo "==> mypy" && $(BIN)/mypy micro plugins examples tests/typing
	@echo "==> layers" && PYTHONPATH=.:plugins $(BIN)/lint-imports --no-cache >$(BIN)/../layers.txt 2>&1 || { cat $(BIN)/../layers.txt; exit 1; }
	@$(PYTEST) -q tests/architecture

bench: .venv/ready  ## Measure, beside other libraries, and write docs/performance.md
	@$(BIN)/python -m benchmarks

faults: .venv/ready  ## Run all fault tests, the slow ones too, and write docs/reliability.md
	@HYPOTHESIS_CASES=$(CASES) $(PYTEST) tests/faults --write-reliability-table

soak: .venv/ready  ## Random faults under load for MINUTES=10
	@SOAK_MINUTES=$(MINUTES) $(PYTEST) tests/faults/test_soak.py -m slow -s

interop: .venv/ready  ## Run all tests against go-micro, and write the table in docs/interop.md
	@$(PEERS)
	@$(PYTEST) tests/interop --write-interop-table

clean:  ## Remove what the other targets made
	@rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

.PHONY: help setup demo test cover fmt check bench faults soak interop clean
