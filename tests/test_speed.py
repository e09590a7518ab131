"""Wave speed against the independent table (steel to polyethylene, five kinds of restraint) and its limits."""

from math import inf, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core.pipes.materials import MATERIALS, material
from lifeline_core.pipes.speed import pipe_speed, restraint_factor, wave_speed

# pipe: E Pa, D, e, nu; m/s for c1 = 1, 1 - nu/2, 1 - nu^2, 5/4 - nu; thick wall anchored throughout
TABLE = [
    ("steel DN500", 207e9, 0.500, 0.008, 0.27, 1149.21, 1181.39, 1166.25, 1153.81, 1160.08),
    ("ductile iron DN300", 170e9, 0.300, 0.008, 0.28, 1216.27, 1244.99, 1232.10, 1222.26, 1223.08),
    ("cast iron DN150", 110e9, 0.150, 0.010, 0.25, 1299.78, 1318.87, 1309.22, 1299.78, 1293.02),
    ("AC DN200", 24e9, 0.200, 0.017, 0.20, 1028.63, 1056.34, 1039.45, 1015.57, 1005.77),
    ("PVC-U 110 SDR26", 3.0e9, 0.1016, 0.0042, 0.45, 342.90, 386.51, 381.39, 380.83, 363.10),
    ("HDPE 110 SDR11", 0.9e9, 0.090, 0.010, 0.46, 309.52, 350.46, 346.57, 346.24, 304.61),
    ("HDPE 160 SDR11", 1.6e9, 0.1308, 0.0146, 0.46, 406.72, 458.37, 453.50, 453.08, 400.27),
]


@pytest.mark.parametrize("row", TABLE, ids=[r[0] for r in TABLE])
def test_table(row: tuple) -> None:
    _, e_pa, d, e, nu, joints, upstream, throughout, one_end, thick = row
    # the table has two decimals
    assert wave_speed(d, e, e_pa) == pytest.approx(joints, abs=0.006)
    assert wave_speed(d, e, e_pa, restraint=restraint_factor("joints", nu)) == pytest.approx(joints, abs=0.006)
    assert wave_speed(d, e, e_pa, restraint=restraint_factor("upstream", nu)) == pytest.approx(upstream, abs=0.006)
    assert wave_speed(d, e, e_pa, restraint=restraint_factor("throughout", nu)) == pytest.approx(throughout, abs=0.006)
    assert wave_speed(d, e, e_pa, restraint=1.25 - nu) == pytest.approx(one_end, abs=0.006)
    got = wave_speed(d, e, e_pa, restraint=1 - nu**2, thick_wall=True, poisson=nu)
    assert got == pytest.approx(thick, abs=0.006)


def test_rigid_pipe_is_the_free_speed() -> None:
    assert wave_speed(0.3, 0.01, inf) == pytest.approx(sqrt(2.19e9 / 998.2), rel=1e-15)
    assert wave_speed(0.3, 0.01, inf) == pytest.approx(1481.20, abs=0.005)


@settings(max_examples=40, deadline=None)
@given(d=st.floats(0.02, 3.0), ratio=st.floats(5, 200), e_pa=st.floats(1e8, 3e11))
def test_monotone(d: float, ratio: float, e_pa: float) -> None:
    a = wave_speed(d, d / ratio, e_pa)
    assert 0 < a < 1481.21
    assert wave_speed(d, d / (ratio * 1.1), e_pa) < a < wave_speed(d, d / ratio, e_pa * 1.1)
    # the acoustic form c = cf / sqrt(1 + 2 B r / (E h)) with r = D / 2 is the same law
    assert a == pytest.approx(sqrt(2.19e9 / 998.2) / sqrt(1 + 2 * 2.19e9 * (d / 2) / (e_pa * (d / ratio))), rel=1e-12)


@pytest.mark.parametrize(("change", "message"), [
    ({"inner_diameter_m": 0.0}, "inner_diameter_m must be above 0, is 0.0"),
    ({"wall_m": -1.0}, "wall_m must be above 0, is -1.0"),
    ({"youngs_pa": float("nan")}, "youngs_pa must be above 0, is nan"),
    ({"restraint": 0.0}, "restraint must be above 0"),
    ({"poisson": 0.6}, "poisson must lie in 0 .. 0.5, is 0.6"),
])
def test_refusals(change: dict, message: str) -> None:
    args = {"inner_diameter_m": 0.3, "wall_m": 0.01, "youngs_pa": 1e11} | change
    with pytest.raises(ValueError, match=message):
        wave_speed(**args)


def test_restraint_word() -> None:
    with pytest.raises(ValueError, match="one of joints, upstream, throughout, is 'loose'"):
        restraint_factor("loose", 0.3)


def test_the_table_of_materials_is_sound() -> None:
    assert {"steel", "ductile-iron", "cast-iron", "asbestos-cement", "copper", "pvc-u-short-term", "pe100-short-term",
            "pe-dynamic", "grp-epoxy-wound"} <= set(MATERIALS)
    for name, m in MATERIALS.items():
        assert m.source
        assert m.low_pa <= m.youngs_pa <= m.high_pa, name
        assert 0.1 <= m.poisson <= 0.5, name
        assert m.duration in ("any", "short-term", "dynamic")
        # a plastic's figure says what load it is for
        assert (m.duration != "any") == name.startswith(("pvc", "pe")), name
        assert m.verified == ("common magnitude" not in m.source and not name.startswith(("pvc-o", "pvc-u-dynamic"))), name
    with pytest.raises(TypeError):
        MATERIALS["own"] = MATERIALS["steel"]  # type: ignore[index]


def test_what_was_not_verified_must_be_asked_for() -> None:
    with pytest.raises(ValueError, match="'asbestos-cement' is not verified"):
        material("asbestos-cement")
    assert material("asbestos-cement", unverified=True).youngs_pa == 24e9
    with pytest.raises(ValueError, match=r"must be one of steel, .* is 'iron'"):
        material("iron")


def test_speed_of_a_material_and_its_spread() -> None:
    known = pipe_speed("steel", 0.5, 0.008, restraint="throughout")
    assert known.speed_mps == pytest.approx(wave_speed(0.5, 0.008, 200e9, restraint=1 - 0.285**2))
    # by hand: E within 5 % to either side; a moves with sqrt(1 + K D / (E e)): half of 0.38 of it
    low, high = (wave_speed(0.5, 0.008, e, restraint=1 - 0.285**2) for e in (190e9, 210e9))
    assert known.rel_sd == pytest.approx((high - low) / sqrt(12) / known.speed_mps)
    assert known.reasons == ()
    loose = pipe_speed("steel", 0.5, 0.008)
    assert loose.rel_sd > known.rel_sd
    assert loose.reasons[0].startswith("restraint-unknown")
    # thick-walled below D / e = 25
    thick = pipe_speed("pe-dynamic", 0.1308, 0.0146, restraint="throughout")
    assert thick.speed_mps == pytest.approx(
        wave_speed(0.1308, 0.0146, 2.2e9, restraint=1 - 0.4**2, thick_wall=True, poisson=0.4))
    assert pipe_speed("pe100-short-term", 0.1308, 0.0146, restraint="joints").reasons[0].startswith("short-term")
    assert pipe_speed("pe80-short-term", 0.1, 0.01, unverified=True).reasons[0].startswith("unverified")


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(MATERIALS)), d=st.floats(0.05, 1.2), ratio=st.floats(8, 60))
def test_every_material_gives_a_wave(name: str, d: float, ratio: float) -> None:
    found = pipe_speed(name, d, d / ratio, unverified=True)
    assert 100.0 < found.speed_mps < 1481.21
    assert 0.0 <= found.rel_sd < 0.3
