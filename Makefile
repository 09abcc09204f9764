# Everything runs in .venv, which the first target that needs it sets up; a second run is quick.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
CASES ?= 100000
MINUTES ?= 10
SOURCES := micro plugins examples benchmarks tests

.DEFAULT_GOAL := help

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

.venv/ready: pyproject.toml
	@echo "==> setting up .venv with $(PYTHON)"
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or later is needed"'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: .venv/ready  ## Make .venv with all that the other targets need

demo: .venv/ready  ## Run the shop: orders, points and notifications on a local nats-server
	@$(BIN)/python -m examples.shop

test: .venv/ready  ## Run every test but the slow ones
	@echo "==> running the tests"
	@$(PYTEST) -m 'not slow' -n 2 --dist loadgroup

cover: .venv/ready  ## Run the tests and show what they do not reach
	@$(BIN)/python -m pip install --quiet pytest-cov
	@$(PYTEST) -m 'not slow' -n 2 --dist loadgroup --cov=micro --cov=plugins --cov-report=term-missing:skip-covered

fmt: .venv/ready  ## Format the sources
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

check: .venv/ready  ## Lint, format, types and layers
	@echo "==> ruff" && $(BIN)/ruff check $(SOURCES) && $(BIN)/ruff format --check $(SOURCES)
	@echo "==> mypy" && $(BIN)/mypy micro plugins examples tests/typing
	@echo "==> layers" && $(PYTEST) -q tests/architecture

bench: .venv/ready  ## Measure, beside other libraries, and write docs/performance.md
	@$(BIN)/python -m benchmarks

faults: .venv/ready  ## Run all fault tests, the slow ones too, and write docs/reliability.md
	@HYPOTHESIS_CASES=$(CASES) $(PYTEST) tests/faults --write-reliability-table

soak: .venv/ready  ## Random faults under load for MINUTES=10
	@SOAK_MINUTES=$(MINUTES) $(PYTEST) tests/faults/test_soak.py -m slow -s

interop: .venv/ready  ## Run all tests against go-micro, and write the table in docs/interop.md
	@$(PYTEST) tests/interop --write-interop-table

clean:  ## Remove what the other targets made
	@rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

.PHONY: help setup demo test cover fmt check bench faults soak interop clean
