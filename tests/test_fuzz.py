"""The fuzz itself: the same inputs in every run, faults that still have their places, and a sweep that reaches every field."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import msgpack
import numpy as np
import pytest

from tests.fuzz.decoder import KERNELS, PLANTS, sound_frames
from tests.fuzz.drive import drawn
from tests.fuzz.entries import ENTRIES
from tests.fuzz.sweep import REAL, changed, words

ROOT = Path(__file__).parents[1]
DIGESTS = """
import hashlib, itertools
from tests.fuzz.drive import drawn
from tests.fuzz.entries import ENTRIES
for entry in ENTRIES:
    seeds, worse = drawn(entry, 1)
    print(entry.name, hashlib.sha256(b"".join([*seeds, *itertools.islice(worse, 50)])).hexdigest())
"""


@pytest.mark.parametrize("name", ["wire", "journal", "journal segment", "cusum.Cusum"])
def test_inputs_follow_from_the_seed(name: str) -> None:
    entry = next(e for e in ENTRIES if e.name == name)
    one, again, other = ([*seeds, *itertools.islice(worse, 20)] for seeds, worse in (drawn(entry, s) for s in (1, 1, 2)))
    assert one == again != other


@pytest.mark.slow
def test_inputs_are_the_same_in_every_process() -> None:
    command = [sys.executable, "-c", DIGESTS]
    environments = [os.environ | {"PYTHONHASHSEED": seed} for seed in ("1", "2")]
    said = [subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout for env in environments]
    assert said[0].count("\n") == len(ENTRIES)
    assert said[0] == said[1]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_fault_has_its_place(plant) -> None:
    text = (KERNELS / plant.file).read_text(encoding="utf-8")
    changed_text, n = re.subn(plant.pattern, plant.instead, text)
    assert n == 1 and changed_text != text


def test_the_sound_frames_are_of_every_kind() -> None:
    whole = [f for f in sound_frames() if len(f) >= 64]
    assert {f[6] for f in whole} >= {0, 1, 2, 3, 4, 5, 6, 16}
    assert {f[5] for f in whole} == {0, 1, 2, 3}
    assert {64, 72, 248} <= {f[4] for f in whole}


def test_the_sweep_sets_every_word_to_every_edge() -> None:
    state = np.arange(12, dtype="<f8").tobytes()
    seen = np.array([np.frombuffer(w, "<f8") for w in words(state)])
    for value in REAL:
        hit = np.isnan(seen) if np.isnan(value) else seen == value
        assert hit.any(axis=0).all()
    assert all(len(w) == len(state) for w in words(state))


def test_the_sweep_changes_every_thing_of_a_map() -> None:
    value = {"n": 3, "rows": [[1.0, b"12345678"]], "name": "x"}
    found = list(changed(value))
    assert all(msgpack.packb(v) != msgpack.packb(value) or v == value for v in found)
    assert {"n": 1 << 63, "rows": [[1.0, b"12345678"]], "name": "x"} in found
    assert any(v.get("rows") == [] for v in found) and any("rows" not in v for v in found)
