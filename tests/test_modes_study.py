"""The study of modes beside pyOMA-2: its commands run, and what it says of a peer that is there, broken or missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import modes_study
from bench.modes_peer import Peer, PeerMissing

SMALL = ["--channels", "3", "--samples", "4000", "--br", "6", "--order", "8", "--rounds", "1"]
SSI = """
class SSI:
    def __init__(self, *, name, method, br, ordmax, step, calc_unc, nb):
        self.name, self.uncertain = name, calc_unc
        assert (method, br, ordmax, step, nb) == ("cov", 6, 8, 2, 40), (method, br, ordmax, step, nb)
"""
SETUP = """
class SingleSetup:
    def __init__(self, x, fs):
        assert x.shape[1] == 3
        print("a library that talks")
    def add_algorithms(self, one):
        self.one = one
    def run_by_name(self, name):
        if {broken} and self.one.uncertain:
            raise SystemExit(3)
        sum(range(100_000))
"""


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A pyOMA-2 that does nothing, where the child finds it."""
    folder = tmp_path / "pyoma2"
    for name, text in {"algorithms/ssi.py": SSI, "setup/single.py": SETUP.replace("{broken}", str(request.param))}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).with_name("__init__.py").write_text("", encoding="utf-8")
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "pyoma_2-9.9.dist-info").mkdir()
    about = "Metadata-Version: 2.1\nName: pyOMA-2\nVersion: 9.9\n"
    (tmp_path / "pyoma_2-9.9.dist-info/METADATA").write_text(about, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.parametrize("pretended", [False], indirect=True)
def test_turn_about_with_a_peer(pretended: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert modes_study.main(["speed", *SMALL, "--uncertain", "2"]) == 0
    said = capsys.readouterr().out
    assert "peer ready 9.9 cov, step 2" in said
    assert [line.split("  ")[0] for line in said.splitlines()[1:]] == [
        "ssi_cov beside SSI-cov", "identify_modes beside SSI-cov", "ssi_cov(uncertainty) beside calc_unc",
        "identify_modes beside calc_unc"]


@pytest.mark.parametrize("pretended", [True], indirect=True)
def test_a_peer_that_breaks_says_so(pretended: None) -> None:
    with Peer(sys.executable, np.zeros((3, 50)), 50.0, 6, 8) as peer:
        assert peer.run(False) >= 0.0
        with pytest.raises(RuntimeError, match=r"ended in a run \(uncertain\)"):
            peer.run(True)


@pytest.mark.skipif(importlib.util.find_spec("pyoma2") is not None, reason="pyOMA-2 is there")
def test_a_peer_that_is_missing_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PeerMissing, match="cannot be started"):
        Peer("no-such-interpreter", np.zeros((3, 50)), 50.0, 6, 8)
    assert modes_study.main(["speed", *SMALL]) == 1
    said = capsys.readouterr()
    assert "pip install pyOMA_2" in said.err
    assert len(said.out.splitlines()) == 4  # our own times all the same


@pytest.mark.parametrize(("what", "lines"), [("parts", 6), ("sliding", 8)])
def test_other_commands_run(what: str, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert modes_study.main([what, *SMALL]) == 0
    assert len(capsys.readouterr().out.splitlines()) == lines
    with pytest.raises(SystemExit, match="2"):
        modes_study.main([what, "--rounds", "0"])
