# `make demo` and `make test` set everything up by themselves: Python >= 3.11 and a network for the first run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)

.PHONY: setup demo test test-fast lint golden audit reliability

setup: $(VENV)/.ready

# torch first and by its pin: a loose range would pull gigabytes of another build.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "torch==$(TORCH)"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/megactor weights pull mediapipe-face
	touch $@

demo: setup
	$(BIN)/megactor demo --output demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread a worker: results do not depend on it, and two workers do not fight over the cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

test-fast: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow"

# Asks the public advisory services about every installed package; the tool stays out of the environment.
audit: setup
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet pip-audit
	$(VENV)/audit/bin/pip-audit --progress-spinner off --path $(VENV)/lib/python3*/site-packages

# The tables of docs/reliability.md: calls of each command that get each fault, and that get SIGKILL; 0 is every call.
# About three hours, nearly all of it for KILLS=0.
MOST ?= 4
KILLS ?= 0
reliability: setup
	$(BIN)/python tests/hostile/count.py
	$(BIN)/python tests/faults/count.py $(MOST)
	$(BIN)/python tests/faults/count.py $(KILLS) killed
