# `make demo` and `make test` need only Python 3.11 or later. They install everything into .venv.

PYTHON ?= python3
BIN := .venv/bin
# Variables also apply to pip's subprocesses, which must not write into the home folder.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_CACHE_DIR := 1
PIP := $(BIN)/python -m pip --quiet
PYTEST := $(BIN)/python -m pytest
# Tests start hundreds of processes. Without bytecode, each of them would compile the package.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo coverage test test-fast test-loop test-containers check matrix docs generate format fuzz soak drift bench dist sbom picture clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      run examples/quickstart.py on the emulator"
	@echo "make test      run all tests except tests/tools, docs, containers and release"
	@echo "make test-fast run the quick tests: no processes, emulator, command line or network faults"
	@echo "make test-loop run the tests that use sessions, with each session on an event loop"
	@echo "make coverage  run the tests, and check that they cover 95 % of the branches of the package"
	@echo "make test-containers  run tests/containers, which need docker or podman"
	@echo "make check     run all checks: format, lint, types, layers, generated files, and the tests"
	@echo "               except tests/release"
	@echo "make matrix    run the tests on each installed CPython from 3.11 to 3.14, and with the"
	@echo "               oldest versions that pyproject.toml allows"
	@echo "make docs      build the documentation site: build/docs/index.html"
	@echo "make generate  write the generated files from openapi/htc.yaml"
	@echo "make format    format the code"
	@echo "make fuzz      run the property tests with many random examples; SEED=... repeats a run"
	@echo "make soak      submit random jobs under faults, for minutes; SEED=... and RUNS=... repeat a run"
	@echo "make drift VENDOR=...  compare a published description (a path or URL) with ours"
	@echo "make bench     compare time and memory with 1.1.0; ROW=list for one row, ROUNDS=1 for fewer rounds"
	@echo "make dist      build the sdist and the wheel, check them, and test the wheel with each extra"
	@echo "make sbom      write build/sbom.json, a software bill of materials of the wheel"
	@echo "make picture   draw docs/_static/watch.svg from a run of rescalehtc watch"
	@echo "make clean     remove environments, caches and built files"

demo: .venv/installed
	@$(BIN)/python -m rescalehtc.emulator -- $(BIN)/python examples/quickstart.py

test: .venv/installed-dev .venv/rescalehtc-1.1.0 .venv/awscli
	@$(PYTEST) $(addprefix --ignore=tests/,tools docs containers release)

test-fast: .venv/installed-dev
	@$(PYTEST) $(addprefix --ignore=tests/,tools docs containers release faults aio cli emulator soak files runs) \
	  -p tests.fast --hypothesis-profile=fast

# It takes three times as long as `make test`, so it is not part of `make check`.
coverage: .venv/installed-dev .venv/rescalehtc-1.1.0
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/coverage run -m pytest $(addprefix --ignore=tests/,tools release)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

# The plugin lists the files.
test-loop: .venv/installed-dev
	@$(PYTEST) $(addprefix --ignore=tests/,tools docs containers release) -p tests.on_loop --hypothesis-profile=fast

# Each worker has its own emulator.
test-containers: .venv/installed-dev
	@$(PYTEST) -n 2 -rs tests/containers

# nox and uv find interpreters on the PATH, so add those of pyenv.
matrix: export PATH := $(CURDIR)/$(BIN):$(PATH):$(subst $(eval ) ,:,$(wildcard $(HOME)/.pyenv/versions/*/bin))
matrix: .venv/installed-dev .venv/rescalehtc-1.1.0 .venv/awscli
	@$(BIN)/nox $(if $(SESSION),--session $(SESSION))

# Run a command, and print the last line of its output, or all of it if the command fails.
define step
	@mkdir -p build/check; printf '%-16s ' '$(1)'; \
	  if { $(2); } > 'build/check/$(1).log' 2>&1; then grep . 'build/check/$(1).log' | tail -n 1 | grep . || echo ok; \
	  else echo FAILED; cat 'build/check/$(1).log'; exit 1; fi
endef

check: .venv/installed-dev
	$(call step,format,$(BIN)/ruff format --check .)
	$(call step,lint,$(BIN)/ruff check .)
	$(call step,spelling,$(BIN)/codespell)
	$(call step,mypy,$(BIN)/mypy)
	$(call step,pyright,$(BIN)/pyright)
	$(call step,public types,PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes rescalehtc --ignoreexternal)
	$(call step,layers,$(BIN)/lint-imports)
	$(call step,openapi,$(BIN)/openapi-spec-validator openapi/htc.yaml)
	$(call step,generated files,$(BIN)/python -m codegen --check)
	$(call step,tools and pages,$(PYTEST) tests/tools tests/docs)
	$(call step,tests,$(MAKE) --no-print-directory test)
	$(call step,containers,$(MAKE) --no-print-directory test-containers)

# A warning, such as a broken link or an invalid docstring, is an error.
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

# WRITE=1 writes the table to docs/performance.md.
bench: .venv/installed-dev .venv/core .venv/rescalehtc-1.1.0 .venv/awscli
	@$(BIN)/python -m benchmarks $(if $(ROW),--row $(ROW)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(WRITE),--write)

# pyroma expects an e-mail address, but the project has none.
dist: .venv/installed-dev
	@rm -rf dist
	@$(BIN)/python -m hatchling build
	@$(BIN)/twine check --strict dist/*
	@$(BIN)/check-wheel-contents dist
	@$(BIN)/pyroma --min 10 --skip-tests AuthorEmail dist/*.tar.gz
	@$(BIN)/python -m tests.dist dist
	@$(PYTEST) tests/release

# The packages that are installed with the wheel, in the CycloneDX format.
sbom: dist
	@rm -rf build/sbom && mkdir -p build
	@$(BIN)/python -m venv build/sbom
	@build/sbom/bin/python -m pip --quiet install --constraint requirements.txt dist/*.whl
	@UV_CACHE_DIR=build/cache $(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 \
	  cyclonedx-py environment --output-file build/sbom.json build/sbom
	@echo "build/sbom.json"

picture: .venv/installed-dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/picture.py

clean:
	rm -rf .venv .nox build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@echo "creating .venv ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml requirements.txt | .venv/bin/python
	@echo "installing rescalehtc and the emulator into .venv ..."
	@$(PIP) install --constraint requirements.txt --editable '.[emulator]'
	@touch $@

# The untyped release, in a separate folder, because it has the same import name.
.venv/rescalehtc-1.1.0: tests/requirements-1.1.0.txt | .venv/bin/python
	@$(PIP) install --no-deps --target $@ --requirement tests/requirements-1.1.0.txt
	@touch $@

# The AWS command line, in a separate folder, because its dependencies conflict with ours.
.venv/awscli: tests/requirements-awscli.txt | .venv/bin/python
	@$(PIP) install --no-deps --target $@ --requirement tests/requirements-awscli.txt
	@touch $@

# The package without extras, because development tools would slow down its import.
.venv/core: pyproject.toml requirements.txt | .venv/bin/python
	@rm -rf $@
	@$(PIP) install --target $@ --constraint requirements.txt .

.venv/installed-dev: .venv/installed requirements.txt
	@echo "installing the tools for development into .venv ..."
	@$(PIP) install --requirement requirements.txt
	@touch $@
