# `make demo` and `make test` need Python 3.11 or later and nothing else; everything they
# install goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
# pip's own subprocesses must not write into the home either.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_CACHE_DIR := 1
PIP := $(BIN)/python -m pip --quiet
PYTEST := $(BIN)/python -m pytest
# Tests start hundreds of processes: without bytecode each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-fast test-loop check matrix docs generate format fuzz soak drift bench clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      run examples/quickstart.py on the emulator"
	@echo "make test      run the tests, all but those of tests/tools"
	@echo "make test-fast run the quick ones: no process, no emulator, no faults of the network"
	@echo "make test-loop run those that use sessions, with each session on an event loop"
	@echo "make check     format, lint, types, layers, generated files, tests/tools, tests, test-loop:"
	@echo "               all that must hold"
	@echo "make matrix    run the tests on each CPython from 3.11 to 3.14 that is here, and with the"
	@echo "               oldest versions that pyproject.toml allows"
	@echo "make docs      build the documentation's site: build/docs/index.html"
	@echo "make generate  write the generated files from openapi/htc.yaml"
	@echo "make format    put the code in form"
	@echo "make fuzz      run the property tests with many more examples, drawn at random; SEED=... repeats"
	@echo "make soak      submit for minutes while faults strike; SEED=... and RUNS=... repeat"
	@echo "make drift VENDOR=...  compare a published description (a path or URL) with ours"
	@echo "make bench     time and memory beside 1.1.0; one row with ROW=list, fewer rounds with ROUNDS=1"
	@echo "make clean     remove environments and caches"

demo: .venv/installed
	@$(BIN)/python -m rescalehtc.emulator -- $(BIN)/python examples/quickstart.py

test: .venv/installed-dev .venv/rescalehtc-1.1.0
	@$(PYTEST) --ignore=tests/tools

test-fast: .venv/installed-dev
	@$(PYTEST) $(addprefix --ignore=tests/,tools faults aio soak) \
	  -p tests.fast --hypothesis-profile=fast

# The files are listed in the plugin.
test-loop: .venv/installed-dev
	@$(PYTEST) --ignore=tests/tools -p tests.on_loop --hypothesis-profile=fast

# nox and uv find interpreters on the PATH; pyenv's are beside it.
matrix: export PATH := $(CURDIR)/$(BIN):$(PATH):$(subst $(eval ) ,:,$(wildcard $(HOME)/.pyenv/versions/*/bin))
matrix: .venv/installed-dev .venv/rescalehtc-1.1.0
	@$(BIN)/nox

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes rescalehtc --ignoreexternal
	$(BIN)/lint-imports
	$(BIN)/openapi-spec-validator openapi/htc.yaml
	$(BIN)/python -m codegen --check
	$(PYTEST) tests/tools
	$(MAKE) --no-print-directory test
	$(MAKE) --no-print-directory test-loop

# A warning is an error: a link that leads nowhere, a docstring that can't be read.
docs: .venv/installed-dev
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

generate: .venv/installed-dev
	@$(BIN)/python -m codegen

format: .venv/installed-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

fuzz: .venv/installed-dev
	@seed=$(or $(SEED),$$($(BIN)/python -c 'import random; print(random.randrange(10**6))')); \
	  echo "make fuzz SEED=$$seed"; \
	  FUZZ_SEED=$$seed $(PYTEST) -m hypothesis --hypothesis-profile=fuzz --hypothesis-seed=$$seed \
	  || { echo "to repeat: make fuzz SEED=$$seed"; exit 1; }

soak: .venv/installed-dev
	@$(BIN)/python -m tests.soak $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS))

drift: .venv/installed-dev
	@test -n "$(VENDOR)" || { echo "name a published description: make drift VENDOR=path-or-URL"; exit 2; }
	@$(BIN)/python -m codegen.drift "$(VENDOR)"

# WRITE=1 puts the table into docs/performance.md.
bench: .venv/installed-dev .venv/core .venv/rescalehtc-1.1.0
	@$(BIN)/python -m benchmarks $(if $(ROW),--row $(ROW)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(WRITE),--write)

clean:
	rm -rf .venv .nox .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml requirements.txt | .venv/bin/python
	@echo "installing rescalehtc and the emulator into .venv ..."
	@$(PIP) install --constraint requirements.txt --editable '.[emulator]'
	@touch $@

# The untyped release, apart: a client that shares no line with this project.
.venv/rescalehtc-1.1.0: tests/requirements-1.1.0.txt | .venv/bin/python
	@$(PIP) install --no-deps --target $@ --requirement tests/requirements-1.1.0.txt
	@touch $@

# The package as it is installed without extras; tools of development would slow its import.
.venv/core: pyproject.toml requirements.txt | .venv/bin/python
	@rm -rf $@
	@$(PIP) install --target $@ --constraint requirements.txt .

.venv/installed-dev: .venv/installed requirements.txt
	@echo "installing the tools for development into .venv ..."
	@$(PIP) install --requirement requirements.txt
	@touch $@
