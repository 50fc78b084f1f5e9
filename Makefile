# Rosin: `make demo` shows what it does, `make test` proves it. Needs only Python >= 3.11 and make.
#
#   make demo    install into .venv and plan one model on one machine
#   make test    the whole suite: lint, types, tests
#   make lint    ruff and mypy alone
#   make clean   remove what the others made
#
# PYTHON chooses the interpreter of the environment: make test PYTHON=python3.13
# Versions are the pins of constraints.txt; nothing is installed twice while it and pyproject.toml stay as they are.

PYTHON ?= python3
VENV ?= .venv
MODEL ?= mixtral-8x7b
MACHINE ?= desktop-rtx-4090-ddr5
BIN := $(VENV)/bin
# --no-build-isolation: the pinned setuptools builds the package, not whatever the registry holds today.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PACKAGE := $(INSTALL) --no-build-isolation --editable

.DELETE_ON_ERROR:
.PHONY: demo test lint clean

demo: $(VENV)/.prepared
	@mkdir -p out
	$(BIN)/rosin plan --model $(MODEL) --machine $(MACHINE) -o out/plan.yaml

# The simulator is compiled once a computer; done here, the plan itself shows what a plan takes.
$(VENV)/.prepared: $(VENV)/.installed
	$(BIN)/rosin prepare
	touch $@

# torch is in neither environment: tests that need it skip, saying so. To run them too, first `pip install torch==2.13.0`,
# then the extra `validate`; in one step, the resolver may pick another torch.
test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is not Python >= 3.11; name one that is: make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	$(INSTALL) setuptools
	$(PACKAGE) .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PACKAGE) '.[test]'
	touch $@

clean:
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
