# Every target sets up what it needs in .venv; nothing else has to be installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-full check docs bench clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mien needs Python 3.11 or newer; call: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

# A stamp per set of packages: reinstalled when the project's metadata change, not at every call.
$(VENV)/.core: $(BIN)/python pyproject.toml hatch_build.py
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml hatch_build.py
	$(BIN)/pip install --quiet --editable '.[all,test]'
	touch $@ $(VENV)/.core

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/.core
	$(BIN)/mien predict examples/astronaut.jpg --draw out

test: $(VENV)/.test
	$(BIN)/python -m pytest -m 'not full'

test-full: $(VENV)/.test
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.test
	$(BIN)/python -m mien results docs

bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache out
