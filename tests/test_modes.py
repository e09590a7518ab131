"""Shapes compared, and the command that finds modes in a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

from lifeline_core.bridges import mac
from lifeline_core.cli import app
from lifeline_core.synth.chain import chain

FINITE = st.floats(-1e3, 1e3)


def test_mac_by_hand() -> None:
    assert mac([1.0, 1.0], [1.0, 0.0]) == 0.5
    assert mac([0.0, 0.0], [1.0, 0.0]) == 0.0
    assert mac([[1.0, 0.0], [1.0, 1.0]], [[0.0, 2.0]]).tolist() == [[0.0], [0.5]]
    with pytest.raises(ValueError, match="as many channels"):
        mac([1.0], [1.0, 2.0])


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (2, 4), elements=FINITE), st.floats(0.1, 10), st.floats(0, 6.28))
def test_mac_knows_no_scale_and_no_turn(shapes: np.ndarray, size: float, angle: float) -> None:
    a, b = shapes
    turned = size * np.exp(1j * angle) * b
    assert mac(a, turned) == pytest.approx(mac(a, b), abs=1e-9)
    assert 0.0 <= mac(a, b) <= 1.0


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deck") / "deck.npz"
    x = chain().acceleration(60_000, 50.0, np.random.default_rng(1))
    np.savez(path, x=x, fs=50.0, names=np.array(["a", "b", "c", "d", "e"]))
    return path


def test_the_command_tells_modes_as_json(deck: Path) -> None:
    done = CliRunner().invoke(app, ["modes", str(deck), "--json", "--f-max", "7"])
    rows = [row["mode"] for row in map(json.loads, done.stdout.splitlines()) if "mode" in row]
    np.testing.assert_allclose([r["f_hz"] for r in rows], chain().f_hz, rtol=0.01)
    assert set(rows[0]["shape"]) == {"a", "b", "c", "d", "e"}
    assert all(0 < r["f_sd_hz"] < 0.02 for r in rows)


def test_the_command_draws(deck: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = CliRunner().invoke(app, ["modes", str(deck), "--picture", str(tmp_path / "deck.svg"), "--refused"])
    assert done.exit_code == 0 and "5 modes" in done.stderr
    assert (tmp_path / "deck.svg").read_text().count("<path") > 100


def test_a_recording_with_gaps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gap.csv").write_text("t,x\n" + "".join(f"{t / 10},{t % 3}\n" for t in range(200) if t < 90 or t > 120))
    done = CliRunner().invoke(app, ["modes", str(tmp_path / "gap.csv")])
    assert done.exit_code != 0 and "gaps (2 pieces)" in str(done.exception)
