"""Pictures of modes: what they are drawn from by hand, that no words lie on each other, that units and missing values are there."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.bridges import stabilisation
from lifeline_core.bridges.fdd import singular_values
from lifeline_core.bridges.identify import Demands, StabilisationDiagram, frequency_floor
from lifeline_core.bridges.layout import Layout, Point, Sensor
from lifeline_core.bridges.modes import Modes
from lifeline_core.bridges.modetable import mode_table, phase_collinearity, real_shapes
from lifeline_core.bridges.paper import apart
from lifeline_core.bridges.picture import draw_modes
from lifeline_core.bridges.shapepicture import draw_shapes
from lifeline_core.bridges.trackpicture import draw_tracks
from lifeline_core.bridges.tracks import Window, follow, line_through
from lifeline_core.bridges.views import Scene
from lifeline_core.synth.chain import chain

FS = 50.0
C = chain()
FIELDS = ("f_hz", "damping", "shapes", "f_sd_hz", "damping_sd", "order")
HOUR = 3600 * 10**9
T0 = 1_700_000_000 * 10**9


def some_modes(f: Any, shapes: Any, sd: float = 0.002) -> Modes:
    f = np.asarray(f, np.float64)
    n = len(f)
    return Modes(f, np.full(n, 0.01), np.asarray(shapes, np.complex128), sd * f, np.full(n, 0.001), np.full(n, 20))


@pytest.fixture(scope="module")
def record() -> np.ndarray:
    return C.acceleration(30_000, FS, np.random.default_rng(1))


@pytest.fixture(scope="module")
def diagram(record: np.ndarray) -> StabilisationDiagram:
    return stabilisation(record, FS)


# ---- labels ----


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_labels_are_apart_in_order_and_inside(at: list[float], least: float) -> None:
    at.sort()
    out = apart(at, least)
    room = min(least, 1.0 / max(len(at) - 1, 1))
    assert (np.diff(out) >= room - 1e-12).all()
    assert out.min() >= -1e-12 and out.max() <= 1 + 1e-12
    if len(at) == 1 or np.diff(at).min() >= room:
        np.testing.assert_allclose(out, at, atol=1e-9)  # what does not touch stays


# ---- the table ----


def test_collinearity_knows_no_turn_and_no_scale() -> None:
    rng = np.random.default_rng(3)
    shape = rng.normal(size=(4, 6)) + 1j * rng.normal(size=(4, 6))
    turned = shape * (3.0 * np.exp(1j * np.array([0.1, 2.0, -1.0, 3.0])))[:, None]
    np.testing.assert_allclose(phase_collinearity(turned), phase_collinearity(shape))
    assert ((phase_collinearity(shape) > 0) & (phase_collinearity(shape) < 1)).all()
    assert phase_collinearity([1.0 + 1j, -2.0 - 2j]) == pytest.approx(1.0)
    assert np.isnan(phase_collinearity([[2.0]])).all() and np.isnan(phase_collinearity([0.0, 0.0]))


def test_real_shapes_undo_a_turn() -> None:
    standing = np.array([[0.2, -1.0, 0.5], [1.0, 0.4, 0.4]])
    turned = standing * np.exp(1j * np.array([2.1, -0.4]))[:, None]
    np.testing.assert_allclose(real_shapes(turned), [[-0.2, 1.0, -0.5], [1.0, 0.4, 0.4]], atol=1e-12)


def test_table_of_the_chain(diagram: StabilisationDiagram) -> None:
    rows = mode_table(diagram)
    assert [r.number for r in rows] == [1, 2, 3, 4, 5]
    assert all(r.collinearity > 0.98 and 0.8 * r.possible <= r.orders <= r.possible for r in rows)
    np.testing.assert_allclose([r.floor_hz for r in rows], frequency_floor(diagram.modes.f_hz, diagram.modes.damping, 600.0))


# ---- layout and views ----


def test_displacements_by_hand() -> None:
    layout = Layout(
        (Sensor("a", (1, 0, 0), (0, 0, 2)), Sensor("b", (1, 0, 0), (0, -1, 0)), Sensor("c", (2, 0, 0), (1, 1, 0)),
         Sensor("gone", (3, 0, 0), (0, 0, 1))),
        (Point("support", (0, 0, 0)), Point("pier", (1, 0, -5), "a"), Point("end", (4, 0, 0), "gone")),
        (("support", "a"), ("b", "c")),
    )  # fmt: skip
    move, known = layout.displacements([1.0, 0.5, np.sqrt(2.0)], ["a", "b", "c"])
    np.testing.assert_allclose(move, [[0, -0.5, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0], [0, -0.5, 1], [0, 0, 0]], atol=1e-12)
    assert known.tolist() == [True, True, False, True, True, False]
    assert layout.nodes().lines.tolist() == [[3, 0], [0, 1]]  # a and b are one place
    assert layout.missing(["a", "x"]) == ["x"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((),), "at least one sensor"),
        (((Sensor("a", (0, 0, 0), (0, 0, 1)), Sensor("a", (1, 0, 0), (0, 0, 1))),), "'a' is there twice"),
        (((Sensor("a", (0, 0, 0), (0, 0, 0)),),), "direction of a must be"),
        (((Sensor("a", (0, np.nan, 0), (0, 0, 1)),),), "at_m of a must be finite"),
        (((Sensor("a", (0, 0, 0), (0, 0, 1)),), (Point("p", (0, 0, 0), "b"),)), "p must follow"),
        (((Sensor("a", (0, 0, 0), (0, 0, 1)),), (), (("a", "b"),)), "joins 'b'"),
    ],
)
def test_a_wrong_layout_is_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Layout(*arguments)


LINE = np.array([[0.0, 0, 0], [50, 0, 0], [100, 0, 0]])
DECK = np.array([[0.0, 0, 0], [100, 0, 0], [0, 10, 0], [100, 10, 0]])
TOWER = np.array([[0.0, 0, 0], [0, 0, 30]])


@pytest.mark.parametrize(
    ("at", "move", "names"),
    [
        (LINE, [0, 0, 1], ["elevation x-z"]),
        (LINE, [0, 1, 0], ["plan x-y"]),
        (LINE, [0, 1, 2], ["elevation x-z", "plan x-y"]),
        (LINE, [0, 0.1, 2], ["elevation x-z"]),
        (LINE[:, [1, 0, 2]], [1, 0, 0], ["plan y-x"]),
        (DECK, [0, 0, 1], ["oblique"]),
        (DECK, [0, 1, 0], ["plan x-y"]),
        (DECK, [0, 1, 1.5], ["oblique", "plan x-y"]),
        (TOWER, [1, 0, 0], ["elevation x-z"]),
        (TOWER, [0, 1, 0], ["elevation y-z"]),
        (np.vstack([DECK, [50, 5, -8]]), [0, 0, 1], ["oblique"]),
        (LINE[:1], [0, 0, 1], ["elevation x-z"]),
        (LINE, [0, 0, 0], ["elevation x-z"]),
    ],
)
def test_the_view_that_tells_most(at: np.ndarray, move: list[float], names: list[str]) -> None:
    every = np.zeros((len(at), 3))
    every[-1] = move
    assert [v.name for v in Scene.of(at).views(every)] == names


def test_a_narrow_deck_is_widened_and_said_so() -> None:
    scene = Scene.of(DECK)
    np.testing.assert_allclose(np.ptp(scene.at, axis=0), [1.0, 0.25, 0.0])
    np.testing.assert_allclose(scene.widened, [1.0, 2.5, 1.0])


# ---- pictures ----


def words_on_words(figure: Any) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes overlap by more than a hair, as they are drawn."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    boxes = []
    for text in figure.findobj(lambda a: isinstance(a, Text) and a.get_visible() and a.get_text().strip() != ""):
        if text.axes is not None and not text.axes.get_visible():
            continue
        box = Text.get_window_extent(text).shrunk(1.0, 0.8)  # of an annotation the words, not the arrow
        if box.width > 0 and box.x1 > 0 and box.y1 > 0:
            boxes.append((text.get_text(), box))
    shown = [b for b in boxes if not hidden(figure, b[0])]
    return [(a[0], b[0]) for a, b in itertools.combinations(shown, 2) if a[1].overlaps(b[1])]


def hidden(figure: Any, word: str) -> bool:
    """Tick labels that matplotlib keeps but does not draw (outside their axis)."""
    drawn: set[str] = set()
    kept: set[str] = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                for label in (tick.label1, tick.label2):
                    (drawn if low <= tick.get_loc() <= high and label.get_visible() else kept).add(label.get_text())
    return word in kept - drawn


def texts(figure: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text))


def chain_layout() -> Layout:
    names = list("abcde")
    sensors = tuple(Sensor(n, (0.0, 0.0, 3.0 * (i + 1)), (1.0, 0.0, 0.0)) for i, n in enumerate(names))
    return Layout(sensors, (Point("ground", (0.0, 0.0, 0.0)),), tuple(itertools.pairwise(["ground", *names])), "Chain")


@pytest.mark.parametrize("layout", [None, chain_layout()], ids=["bars", "layout"])
def test_one_sheet_says_everything_and_nothing_twice_over(record: np.ndarray, diagram: StabilisationDiagram, layout: Any) -> None:
    pytest.importorskip("matplotlib")
    f, s, _ = singular_values(record, FS)
    figure = draw_modes(diagram, f, s, f_max=12.0, names=list("abcde"), layout=layout, unit="m/s2")
    said = texts(figure)
    for word in ("frequency, Hz", "(m/s²)²/Hz", "model order", "damping, %", "5 modes of 5 channels in 600 s", "MPC"):
        assert word in said, word
    assert ("15 m along z" in said) == (layout is not None)
    assert words_on_words(figure) == []


def test_many_close_modes_keep_their_numbers_apart() -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    f = np.sort(np.r_[2.0, 2.02, 2.05, rng.uniform(0.5, 20, 10)])
    m = some_modes(f, rng.normal(size=(13, 8)))
    d = StabilisationDiagram(m, m, 600.0, Demands())
    names = [f"UniBw_2022:ACC_{i}_z" for i in range(8)]
    figure = draw_modes(d, np.linspace(0, 25, 60), np.ones((60, 8)), f_max=20.0, names=names)
    assert words_on_words(figure) == []
    assert "2.0200" in texts(figure)


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_found_is_drawn_too(channels: int) -> None:
    pytest.importorskip("matplotlib")
    none = some_modes([], np.empty((0, channels)))
    d = StabilisationDiagram(none, replace(none, refused=((3.0, 0.01, "not sharp: ..."),)), 60.0, Demands())
    figure = draw_modes(d, np.linspace(0, 25, 60), np.ones((60, channels)), f_max=20.0)
    assert "no modes; 1 cluster of poles refused" in texts(figure)


def test_shapes_over_a_deck() -> None:
    pytest.importorskip("matplotlib")
    up = (0.0, 0.0, 1.0)
    sensors = tuple(Sensor(f"{side}{i}", (10.0 * i, y, 0.0), up) for side, y in (("n", 0.0), ("s", 6.0)) for i in (1, 2, 3))
    dead, end = Sensor("dead", (40.0, 0.0, 0.0), up), Point("end", (0.0, 0.0, 0.0))
    layout = Layout((*sensors, dead), (end,), (("end", "n1"), ("n1", "n2")))
    bending, torsion = [0.7, 1, 0.7, 0.7, 1, 0.7], [0.7, 1, 0.7, -0.7, -1, -0.7]
    figure = draw_shapes(some_modes([1.5, 3.5], [bending, torsion]), [s.channel for s in sensors], layout=layout)
    assert "40 m along x, 6 m along y (drawn 1.7 times as wide)" in texts(figure)
    assert words_on_words(figure) == []
    with pytest.raises(ValueError, match="no sensor for x"):
        draw_shapes(some_modes([1.5], [bending]), [*[s.channel for s in sensors][:-1], "x"], layout=layout)
    with pytest.raises(ValueError, match="no modes"):
        draw_shapes(some_modes([], np.empty((0, 2))))
    with pytest.raises(ValueError, match="as many as channels, 6, are 2"):
        draw_shapes(some_modes([1.5], [bending]), ["a", "b"])


def test_without_matplotlib_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install lifeline-core\[plot\]"):
        draw_shapes(some_modes([1.0], [[1.0, 0.5]]))


# ---- tracks ----


def windows(n: int = 30, *, dated: bool = True) -> list[Window]:
    """Frequencies that fall with the temperature; mode 2 missing in every fifth window, window 7 empty, a gap after window 20."""
    rng, out = np.random.default_rng(2), []
    for i in range(n):
        temperature = 10 + 8 * np.sin(2 * np.pi * i / 24)
        keep = np.array([True, i % 5 != 0, True])
        m = some_modes(C.f_hz[:3] * (1 - 0.002 * (temperature - 10)), C.shapes[:3], sd=1e-4).take(keep)
        begin = (T0 if dated else 0) + (i + (10 if i > 20 else 0)) * HOUR
        noise = some_modes([9.0], [rng.normal(size=5)])
        both = Modes(*[np.concatenate([getattr(m, key), getattr(noise, key)]) for key in FIELDS])
        modes, why = (None, "no numbers") if i == 7 else (both if i == 3 else m, "")
        out.append(Window(begin, begin + HOUR // 6, modes, why, temperature))
    return out


def test_tracks_by_hand() -> None:
    t = follow(windows())
    assert t.f_hz.shape == (30, 3) and t.found.tolist() == [29, 23, 29]
    assert np.isnan(t.f_hz[7]).all() and np.isnan(t.f_hz[::5, 1]).all()  # missing stays missing
    assert np.isfinite(t.f_sd_hz[np.isfinite(t.f_hz)]).all() and np.isnan(t.f_sd_hz[np.isnan(t.f_hz)]).all()
    np.testing.assert_allclose(t.others[3], [9.0])
    assert t.why[7] == "no numbers" and (t.likeness[np.isfinite(t.likeness)] > 0.999).all()
    a, slope, share = line_through(t.environment, t.f_hz[:, 0])
    assert (a, slope, share) == pytest.approx((C.f_hz[0] * 1.02, -0.002 * C.f_hz[0], 1.0), rel=1e-6)


def test_references_of_the_first_windows() -> None:
    one, two = some_modes([2.0], [[1.0, 1.0]]), some_modes([2.0, 5.0], [[1.0, 1.0], [1.0, -1.0]])
    late = [Window(i * HOUR, i * HOUR + 1, one if i < 4 else two) for i in range(10)]
    assert len(follow(late).reference) == 2
    assert len(follow(late, learn=4).reference) == 1


@pytest.mark.parametrize(
    ("given_", "keywords", "words"),
    [
        ([], {}, "none of 0 windows could"),
        ([Window(0, 1, None, "too short")], {}, "too short"),
        (windows(3)[::-1], {}, "order of time"),
        (windows(3), {"share": 0.0}, "share"),
    ],
)
def test_tracks_are_refused(given_: list[Window], keywords: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        follow(given_, **keywords)  # type: ignore[arg-type]


def test_a_line_needs_three_pairs() -> None:
    assert np.isnan(line_through(np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.0, 3.0]))).all()
    assert np.isnan(line_through(np.ones(4), np.arange(4.0))).all()


@pytest.mark.parametrize("dated", [True, False])
def test_tracks_are_drawn_with_their_holes(dated: bool) -> None:
    pytest.importorskip("matplotlib")
    figure = draw_tracks(follow(windows(dated=dated)), environment="air temperature", environment_unit="°C")
    said = texts(figure)
    assert "air temperature, °C" in said and "% per °C" in said and ("time, UTC" if dated else "time, h") in said
    assert "in 23 of 30 windows" in said and "mode 2, Hz" in said
    panel = next(ax for ax in figure.axes if ax.get_ylabel() == "mode 2, Hz")
    joined = [line for line in panel.get_lines() if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
    assert len(joined) >= 6  # broken at every missing window and at the gap
    red = next(line for line in panel.get_lines() if line.get_marker() == "|" and line.get_color() == "#c0392b")
    assert len(red.get_xdata()) == 7
    assert not dated or words_on_words(figure) == []


def test_tracks_without_weather_or_modes() -> None:
    pytest.importorskip("matplotlib")
    plain = [Window(w.begin_ns, w.end_ns, w.modes) for w in windows(6)]
    assert not any("environment" in ax.get_ylabel() for ax in draw_tracks(follow(plain)).axes)
    scattered = [Window(i * HOUR, i * HOUR + 1, some_modes([1.0 + i], [[1.0, 0.0]])) for i in range(6)]
    assert len(draw_tracks(follow(scattered)).axes) == 1
    silent = follow([Window(i * HOUR, i * HOUR + 1, some_modes([], np.empty((0, 2)))) for i in range(3)])
    assert silent.f_hz.shape == (3, 0) and len(draw_tracks(silent).axes) == 1


def test_names_are_words_and_no_formulas() -> None:
    pytest.importorskip("matplotlib")
    figure = draw_shapes(some_modes([1.0], [[1.0, 0.5]]), ["a$b", "$\\frac{$"], title="$\\broken{")
    figure.draw_without_rendering()
    assert "$\\frac{$" in texts(figure)
