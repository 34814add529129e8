# Every target makes .venv on first use and again when pyproject.toml or constraints.txt changes.

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
EXAMPLES := $(wildcard src/cotir/assets/examples/*)

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.DEFAULT_GOAL := help
.PHONY: help demo test check format clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:  ## this list
	@echo 'make TARGET [PYTHON=python3.13] [TORCH_INDEX=URL]'
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST)
	@echo
	@echo 'PYTHON       the interpreter that .venv is made with, 3.10 to 3.13'
	@echo 'TORCH_INDEX  where to look for torch besides PyPI. On Linux PyPI serves a CUDA build of several GB;'
	@echo '             without an NVIDIA card take the CPU build, 200 MB:'
	@echo '             make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu'

demo: $(VENV)/demo.stamp  ## restore the bundled photos; the pictures, before | after, appear in demo/
	@$(if $(EXAMPLES),,echo 'no example photos in src/cotir/assets/examples' >&2; exit 1)
	$(BIN)/cotir restore $(EXAMPLES) -o demo/ --compare --overwrite
	@echo; echo 'Before | after:'
	@find '$(CURDIR)/demo' -name "*_compare.*" | sort | sed 's/^/  /'

test: $(VENV)/dev.stamp  ## the tests, without those marked slow, gpu or network
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m 'not slow and not gpu and not network'

check: $(VENV)/dev.stamp  ## lint, format, types and the layers of the modules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

format: $(VENV)/dev.stamp  ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove .venv, demo/, caches and builds
	rm -rf $(VENV) demo dist .pytest_cache .ruff_cache .import_linter_cache
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/demo.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/demo.stamp $@
