# Everything a contributor runs. It needs make and Python 3.11 or newer with venv; the rest goes into .venv.

PYTHON ?= python3
SHELL := /bin/sh
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest
OLDEST := 3.11

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test check bench quick race pythons ci clean format

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: .venv/.dev-ready ## Make .venv with all that running, testing and checking need

run: .venv/.run-ready ## Serve the demo jobs over HTTP, until Ctrl-C
	@$(BIN)/millhand serve

test: .venv/.dev-ready ## Run every test that needs no special service; print branch coverage
	@$(PYTEST) --quiet -m "untraced"
	@$(PYTEST) -m "not crash and not stress and not browser and not untraced" \
		--cov --cov-branch --cov-report=term $(if $(COVERAGE_MIN),--cov-fail-under=$(COVERAGE_MIN))

check: .venv/.dev-ready ## Check format, lint, types and architecture
	@$(BIN)/ruff format --check --quiet . || { echo "Some files are not formatted; remedy: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/basedpyright --level error >.venv/pyright.txt || { cat .venv/pyright.txt; exit 1; }
	@$(PYTEST) --quiet tests/architecture

bench: .venv/.dev-ready ## Run every benchmark, one after the other
	@for program in $$(grep -l '^def main' bench/*.py); do \
		echo "── $$program"; $(BIN)/python "$$program" || exit 1; \
	done

quick: .venv/.dev-ready ## Run only the fast tests
	@$(PYTEST) --quiet -m "not slow and not crash and not stress and not browser and not service"

race: .venv/.dev-ready ## Hunt races: the stress tests, with threads taking turns every microsecond
	@MILLHAND_SWITCH_INTERVAL=1e-6 $(PYTEST) --timeout=120 -m stress

pythons: .venv/.dev-ready ## Run the pool's tests on every other CPython that is found
	@bash .ci/pythons

ci: ## Run what a merge needs, exactly as the CI does
	@CI=true bash .ci/run </dev/null

clean: ## Remove caches, reports and builds (.venv stays)
	@rm -rf dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find src tests bench -type d -name __pycache__ -prune -exec rm -rf {} +

format: .venv/.dev-ready ## Put the code into the form that `make check` wants
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

# A stamp is newer than both files as long as .venv holds what they ask for.

.venv/.run-ready: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing millhand into .venv"
	@$(PIP) --editable '.[all]'
	@touch $@

.venv/.dev-ready: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing millhand and what its tests need into .venv"
	@$(PIP) --editable '.[all,dev]'
	@touch $@ .venv/.run-ready

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no $(PYTHON); install Python $(OLDEST) or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST)".split("."))))' || { \
		echo "millhand needs Python $(OLDEST) or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
			"name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || { \
		echo "$(PYTHON) cannot make virtual environments; install its venv module (on Debian: apt-get install python3-venv)" >&2; \
		rm -rf .venv; exit 1; }
