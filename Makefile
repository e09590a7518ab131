# Needs Python 3.11 or newer with its headers, gcc and make; everything else is set up here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := setup.py pyproject.toml $(wildcard kernels/*)
BENCH := $(BIN)/python -m pytest bench --benchmark-only --benchmark-quiet -q

.PHONY: demo test bench bench-baseline bench-save bench-gate budgets roofs sanitize fuzz fuzz-frames faults lint build clean

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

# One table, ours beside the peer, turn about; build/bench.json.
bench: $(READY)
	$(BENCH) --bench-json build/bench.json

# The same with SSE4.2 only, against the lower promise; build/bench-baseline.json.
bench-baseline: $(READY)
	LIFELINE_ISA=baseline $(BENCH) --bench-json build/bench-baseline.json --ignore bench/bench_path.py

# Memory bandwidth and FLOP/s of this machine; build/machine.json.
roofs: $(READY)
	$(BIN)/python -m bench.machine

# What was measured last goes into docs/performance.json and the tables of docs/performance.md and README.md.
bench-save: $(READY)
	$(BIN)/python -m bench.table --save

# Has a kernel got slower? Instructions against bench/budgets.toml, turns against the peers with a wide margin.
bench-gate: $(READY)
	$(BIN)/python -m bench.gate

budgets: $(READY)
	$(BIN)/python -m bench.gate --write

# The kernels' tests and a fuzz under ASan + UBSan. SHORT=1: what CI runs.
sanitize: $(READY)
	$(BIN)/python -m tests.fuzz.sanitize $(if $(SHORT),--short)

# Every entry that takes lengths from outside, for so long each. SEED: other mutations; MOST: so many of an entry at most.
SECONDS ?= 60
fuzz: $(READY)
	$(BIN)/python -m tests.fuzz.sanitize --fuzz-only --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(MOST),--most $(MOST))

# So many mutated frames through decoder and assembler, compiled, under the sanitizers; some also through the binding.
FRAMES ?= 10000000
fuzz-frames: $(READY)
	$(BIN)/python -m tests.fuzz.sanitize --frames $(FRAMES)

# kill -9, crashes at every n-th call, a full and a broken disk, under load. SHORT=1: what CI runs.
faults: $(READY)
	$(BIN)/python -m tests.faults $(if $(SHORT),--short)

clean:
	rm -rf build dist $(VENV) src/*.egg-info
	find src -name '*.so' -delete
