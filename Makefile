# Rosin: `make demo` shows what it does, `make test` proves it. Needs only Python >= 3.11 and make.
#
#   make demo    install into .venv and plan one model on one PC: the command for llama.cpp, then the best of any policy
#   make test    the whole suite: lint, types, tests (TORCH=1: those that need torch too; on Linux it brings CUDA along)
#   make lint    ruff and mypy alone
#   make fuzz    a million random files through every parser, twenty minutes of one core, all cores at work (INPUTS=10000 for fewer, SEED=1 for others);
#                then every command that writes, told to end at MOMENTS=20 moments each, which takes as long again
#   make gpu     measure this GPU machine, plan for it, and set measured beside predicted, in at most ten minutes (into out/gpu);
#                uses the torch that PYTHON has: make gpu PYTHON=python3 GPU_ARGS="--time-s 300"
#   make clean   remove what the others made
#
# PYTHON chooses the interpreter of the environment: make test PYTHON=python3.13
# Versions are the pins of constraints.txt; nothing is installed twice while it and pyproject.toml stay as they are.

PYTHON ?= python3
VENV ?= .venv
GPU_VENV ?= .venv-gpu
MODEL ?= gpt-oss-120b
MACHINE ?= RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800
LOAD ?= --prompt-tokens 2000 --output-tokens 300
BIN := $(VENV)/bin
# --no-build-isolation: the pinned setuptools builds the package, not whatever the registry holds today.
# --no-compile: Python compiles the modules that are imported, one in twelve of those installed, when they are.
INSTALL := $(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt
PACKAGE := $(INSTALL) --no-build-isolation --editable

.DELETE_ON_ERROR:
.PHONY: demo test lint fuzz gpu clean

# First the command to paste, which needs no simulator; then what any policy could do, which compiles it once.
demo: $(VENV)/.installed
	@mkdir -p out
	$(BIN)/rosin plan --runtime llama.cpp --model $(MODEL) --machine "$(MACHINE)" $(LOAD) --room-tokens 16384 -o out/plan.yaml
	$(MAKE) --no-print-directory $(VENV)/.prepared
	$(BIN)/rosin plan --model $(MODEL) --machine "$(MACHINE)" $(LOAD) -o out/any-policy.yaml

# The simulator is compiled once a computer; done here, the plan itself shows what a plan takes.
$(VENV)/.prepared: $(VENV)/.installed
	$(BIN)/rosin prepare
	touch $@

# Without TORCH=1, torch is not installed and the tests that need it skip, saying so.
# Kernels are compiled first: both processes of the tests would compile them.
test: lint $(if $(TORCH),$(VENV)/.installed-torch)
	$(BIN)/rosin prepare
	$(BIN)/python -m tests.two_processes

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases benchmarks examples

# An environment of its own that sees PYTHON's packages: torch with CUDA is there already, and stays as it is. What else is missing is
# installed; where nothing is, no network is needed.
gpu: $(GPU_VENV)/.installed
	$(GPU_VENV)/bin/python -m validation.gpu -o out/gpu $(GPU_ARGS)

$(GPU_VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is not Python >= 3.11; name one that is: make gpu PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import torch; sys = __import__("sys"); sys.exit(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11))' 2>/dev/null || \
	  { echo "error: $(PYTHON) has no torch >= 2.11; install one for this machine's CUDA first, or name the Python that has it" >&2; exit 2; }
	$(PYTHON) -m venv --system-site-packages $(GPU_VENV)
	@# Where PYTHON is itself of an environment, what that has is seen too.
	$(PYTHON) -c 'import site; print(*site.getsitepackages(), sep="\n")' > \
	  "$$($(GPU_VENV)/bin/python -c 'import site; print(site.getsitepackages()[0])')/outer.pth"
	$(GPU_VENV)/bin/python -m validation.missing_packages > $(GPU_VENV)/missing.txt
	@! grep -q . $(GPU_VENV)/missing.txt || \
	  $(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(GPU_VENV)/missing.txt
	touch $@

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is not Python >= 3.11; name one that is: make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	$(INSTALL) setuptools
	$(PACKAGE) .
	touch $@

INPUTS ?= 1000000
SEED ?= 0
MOMENTS ?= 20

fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(SEED)
	$(BIN)/python -m tests.rosin.signalled --moments $(MOMENTS) --seed $(SEED)

$(VENV)/.installed-test: $(VENV)/.installed
	$(PACKAGE) '.[test]'
	touch $@

# torch alone first: in one step with the extras, the resolver may pick another torch.
$(VENV)/.installed-torch: $(VENV)/.installed-test
	$(INSTALL) torch==2.13.0
	$(PACKAGE) '.[test,validate,hf]'
	touch $@

clean:
	rm -rf $(VENV) $(GPU_VENV) out build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
