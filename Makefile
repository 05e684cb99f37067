# Everything sets itself up: Python 3.11 or newer, pip and make are all that is needed.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
SETUP  := $(VENV)/.ready
ARGS   ?=
SIDES  := -q -n 2 --dist loadfile

.PHONY: help demo serve test lint bench bench-peers soak clean

help:
	@echo "make demo         route tasks of all kinds over several real language models, and show how"
	@echo "make serve        keep a gateway running (ARGS='fairlead.yaml --listen 127.0.0.1:8400')"
	@echo "make test         check format, lint, types and import rules, and run all tests"
	@echo "make bench        measure against the peers (make bench-peers installs them)"
	@echo "make soak         the long random runs"

$(SETUP): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fairlead needs Python 3.11 or newer; say which with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: is the venv module of Python installed?"; exit 1; }
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[local,evaluate]' --group test
	@touch $@

demo: $(SETUP)
	@$(BIN)/python examples/demo.py $(ARGS)

serve: $(SETUP)
	@$(BIN)/fairlead serve --yes $(ARGS)

lint: $(SETUP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

test: lint
	@$(BIN)/python -m fairlead.local > /dev/null || echo "the tests with a real model will be skipped"
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(SIDES) -m 'not soak and not heavy' $(ARGS) || test $$? -eq 5
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(BIN)/python -m pytest $(SIDES) -m 'heavy and not soak' $(ARGS) || test $$? -eq 5

bench: $(SETUP)
	@$(BIN)/python bench $(ARGS)
	@test -n "$(ARGS)" || $(BIN)/python bench/capacity.py
	@test -n "$(ARGS)" || $(BIN)/python bench/safety.py

bench-peers: $(SETUP)
	@$(BIN)/python bench/peers.py install

soak: $(SETUP)
	@$(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)

clean:
	rm -rf $(VENV) .venv-peers .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
