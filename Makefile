# Needs Python 3.11 or newer with its headers, gcc and make; everything else is set up here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := setup.py pyproject.toml $(wildcard kernels/*)

.PHONY: demo test bench lint build clean

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lifeline-core needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade pip

$(VENV)/.tools: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check "setuptools>=77" wheel "cython>=3.3,<3.4"
	touch $@

$(READY): $(VENV)/.tools $(SOURCES)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -e ".[dev,plot]"
	touch $@

build: $(READY)

demo: $(READY)
	$(BIN)/lifeline-core demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

bench: $(READY)
	$(BIN)/python -m pytest bench --benchmark-only -q --benchmark-columns=min,median,max,rounds --benchmark-sort=name

clean:
	rm -rf build dist $(VENV) src/*.egg-info
	find src -name '*.so' -delete
