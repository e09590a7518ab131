"""`lifeline-core replay` on the recordings and simulations beside the repository; docs/real-input.md has the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifeline_core.store.arrays import read_array

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared/data"
MUNICH = DATA / "bridges/munich/UniBw_2022-04-11_ref_support_load_01AllM100Hz.csv.zip"
PAINTER = DATA / "bridges/painter_street/nc73821036_ce89324p.zip"
pytestmark = [pytest.mark.data, pytest.mark.skipif(not DATA.is_dir(), reason=f"the recordings are not there: {DATA}")]
NS = 1_000_000_000
G = 9.80665


def replay(*arguments: Any) -> tuple[list[dict[str, Any]], str]:
    """Alarms (and report lines) of one command."""
    command = [sys.executable, "-m", "lifeline_core", "replay", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def munich(factor: float, *more: Any) -> list[dict[str, Any]]:
    return replay(
        MUNICH,
        "--city",
        "examples/munich.toml",
        "--column",
        "ACC01_z",
        "--channel",
        "acc01-z",
        "--factor",
        factor,
        "--day-first",
        *more,
    )[0]


def test_munich_as_recorded_says_nothing_and_shows_its_peaks() -> None:
    lines = munich(G, "--report")
    assert not [x for x in lines if "alarm_id" in x]
    reports = [x["report"] for x in lines if "report" in x and x["report"]["detector"] == "spectral"]
    peaks = np.array([f for r in reports for f in r["peaks_hz"]])
    for listed in (10.8, 16.3, 25.0, 34.1):
        assert np.abs(peaks - listed).min() <= 0.1, f"{listed} Hz among {peaks.round(2).tolist()}"


def scaled_to(rms: float) -> float:
    """The factor that gives the bin from 08:40 this RMS about its mean; the bin ends with the record at 08:48:24.9."""
    (r,) = read_array(MUNICH, column="ACC01_z", day_first=True)
    t_ns = r.t0_ns + np.arange(r.x.size) * 10_000_000
    begin = int(np.datetime64("2022-04-11T08:40:00", "ns").astype(np.int64))
    inside = r.x[t_ns >= begin].astype(np.float64)
    assert round(inside.size / 60_000, 2) == 0.84
    return rms / float(inside.std())


def test_munich_scaled_to_the_limit_is_one_alarm_for_its_bin() -> None:
    alarms = munich(scaled_to(0.316))
    assert len({a["alarm_id"] for a in alarms}) == 1
    (alarm,) = [a for a in alarms if a["revision"] == 1]
    assert alarm["onset_ns"] == int(np.datetime64("2022-04-11T08:40:00", "ns").astype(np.int64))
    assert (alarm["kind"], alarm["severity"], alarm["limit"]) == ("rms", 2, 0.315)
    assert alarm["value"] == pytest.approx(0.316, rel=1e-4)  # the stamps' time base sets the bin's edge to a sample


def test_munich_just_below_the_limit_is_none() -> None:
    assert munich(scaled_to(0.314)) == []


def test_painter_street_shock_where_obspy_picks_it() -> None:
    trigger = pytest.importorskip("obspy.signal.trigger")
    alarms, _ = replay(
        PAINTER, "--city", "examples/painter-street.toml", "--column", "chan-3", "--channel", "chan-3", "--factor", 0.01
    )
    shocks = [a for a in alarms if a["kind"] == "shock" and a["revision"] == 1]
    assert len(shocks) == 1
    (r,) = read_array(PAINTER, column="chan-3", unit_factor=0.01)
    x = r.x.astype(np.float64) - r.x.mean()
    ratio = trigger.recursive_sta_lta(x, 50, 1000)
    on = int(np.flatnonzero(ratio > 4.0)[0])
    begin = max(0, on - 300)
    pick = begin + int(np.argmin(trigger.aic_simple(x[begin : on + 100])[1:-1])) + 1
    assert abs((shocks[0]["onset_ns"] - r.t0_ns) / NS - pick / 100.0) <= 0.2


def network(tmp_path: Path, name: str, seed: int) -> tuple[list[str], list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "examples/tnet3.py", str(DATA / "pipes"), name, str(tmp_path), "--seed", str(seed)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    nodes = done.stdout.removeprefix("sensors at ").strip().split(", ")
    return nodes, replay(tmp_path / "heads.npz", "--city", tmp_path / "city.toml")[0]


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("tnet3_b20", "JUNCTION-20"),
        ("tnet3_b36", "JUNCTION-36"),
        ("tnet3_b90", "JUNCTION-90"),
        ("ptsnet_burst_j73_1200", "JUNCTION-73"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_bursts_are_heard_everywhere_and_located(tmp_path: Path, name: str, truth: str, seed: int) -> None:
    nodes, alarms = network(tmp_path, name, seed)
    heard = {a["where"]["node"] for a in alarms if a["kind"] == "transient"}
    assert heard == set(nodes)
    bursts = [a for a in alarms if a["kind"] == "burst"]
    assert len({a["alarm_id"] for a in bursts}) == 1
    assert truth in [c.get("node") for c in bursts[-1]["where"]["candidates"]]


@pytest.mark.parametrize("name", ["tnet3_p48", "ptsnet_pump"])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_no_burst_is_not_called_one(tmp_path: Path, name: str, seed: int) -> None:
    _, alarms = network(tmp_path, name, seed)
    assert not [a for a in alarms if a["kind"] == "burst"]
