# Everything runs in .venv, which the first target that needs it sets up; a second run is quick.
# A Python that is asked for has an environment of its own: make test PYTHON=python3.13

# The first that runs: a command of that name may be a shim of pyenv with nothing behind it.
USABLE := import sys, venv; sys.exit(sys.version_info < (3, 11))
first = $(shell for python in $(1); do \
  "$$python" -c '$(USABLE)' 2>/dev/null && echo "$$python" && break; done)
ifeq ($(origin PYTHON),command line)
override PYTHON := $(call first,$(PYTHON) $(wildcard $(HOME)/.pyenv/versions/*/bin/$(PYTHON)))
VENV := .venv-$(shell '$(PYTHON)' -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
else
PYTHON ?= $(call first,python3.11 python3.12 python3.13 python3.14 python3 python)
endif
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Go programs are built before the tests, whose time limits they would exceed on a new machine.
PEERS := $(BIN)/python -m tests.interop.peers
# Tests at once. The fault tests run one at a time anyway: they measure time.
JOBS ?= 2
CASES ?= 100000
MINUTES ?= 10
SOURCES := $(wildcard micro plugins examples benchmarks tests)

# uv where it is, with the versions of uv.lock from any package index; else pip.
WANTED := --editable '.[all]' --group dev
UV_WANTED ?= --constraint $(VENV)/constraints.txt
UV_EXPORT := uv export --quiet --frozen --all-extras --no-hashes --no-emit-project
PIP := $(BIN)/python -m pip install --disable-pip-version-check

.DEFAULT_GOAL := help

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

$(VENV)/ready: pyproject.toml uv.lock
	@$(or $(PYTHON),false) -c '$(USABLE)' || \
	  { echo 'Python 3.11 or later is needed: make PYTHON=/path/to/python ...' >&2; exit 2; }
	@echo "==> setting up $(VENV) with $(PYTHON)"
	@$(BIN)/python -c '$(USABLE)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@if command -v uv >/dev/null && $(UV_EXPORT) --output-file $(VENV)/constraints.txt >/dev/null \
	  && uv pip install --python $(BIN)/python $(UV_WANTED) $(WANTED); then :; else \
	  echo "==> installing with pip" && $(PIP) --quiet --upgrade 'pip>=25.1' && $(PIP) $(WANTED); fi
	@touch $@

setup: $(VENV)/ready  ## Make .venv with all that the other targets need

demo: $(VENV)/ready  ## Run the shop: orders, points and notifications on a local nats-server
	@$(BIN)/python -m examples.shop

outage: $(VENV)/ready  ## Run the shop while services and the nats-server are killed
	@$(BIN)/python -m examples.shop --outage

test: $(VENV)/ready  ## Run every test but the slow ones
	@$(PEERS)
	@echo "==> running the tests"
	@$(PYTEST) -m 'not slow' -n $(JOBS) --dist loadgroup

lowest:  ## Run the tests with the lowest versions of the dependencies that pyproject.toml allows
	@command -v uv >/dev/null || { echo 'uv is needed: pip install uv' >&2; exit 2; }
	@$(MAKE) --no-print-directory test VENV=.venv-lowest UV_WANTED='--resolution lowest-direct'

cover: $(VENV)/ready  ## Run the tests and show what they do not reach
	@$(PEERS)
	@$(PYTEST) -m 'not slow' -n $(JOBS) --dist loadgroup --cov=micro --cov=plugins --cov-report=term-missing:skip-covered

fmt: $(VENV)/ready  ## Format the sources
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

check: $(VENV)/ready  ## Lint, format, types and layers
	@echo "==> ruff" && $(BIN)/ruff check $(SOURCES) && $(BIN)/ruff format --check $(SOURCES)
	@echo "==> mypy" && $(BIN)/mypy micro plugins examples tests/typing
	@echo "==> layers" && PYTHONPATH=.:plugins $(BIN)/lint-imports --no-cache >$(VENV)/layers.txt 2>&1 || { cat $(VENV)/layers.txt; exit 1; }
	@$(PYTEST) -q tests/architecture

docs: $(VENV)/ready  ## Build the documentation with the API reference into .cache/site
	@$(BIN)/zensical build --strict --clean

bench: $(VENV)/ready  ## Measure, beside other libraries, and write docs/performance.md
	@$(BIN)/python -m benchmarks

faults: $(VENV)/ready  ## Run all fault tests, the slow ones too, and write docs/reliability.md
	@HYPOTHESIS_CASES=$(CASES) $(PYTEST) tests/faults --write-reliability-table

soak: $(VENV)/ready  ## Random faults under load for MINUTES=10
	@SOAK_MINUTES=$(MINUTES) $(PYTEST) tests/faults/test_soak.py -m slow -s

interop: $(VENV)/ready  ## Run all tests against go-micro, and write the table in docs/interop.md
	@$(PEERS)
	@$(PYTEST) tests/interop --write-interop-table

lock:  ## Write uv.lock anew, from the public index, after a change of the dependencies
	@uv lock --default-index https://pypi.org/simple

clean:  ## Remove what the other targets made
	@rm -rf .venv .venv-* .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

.PHONY: help setup demo outage test lowest cover fmt check docs bench faults soak interop lock clean
