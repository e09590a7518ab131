"""Recordings from files: what is known of a file comes back; what is not is refused with its rule."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import wavfile

from lifeline_core.store import csmip, stamps
from lifeline_core.store.arrays import read_array

DATA = Path(__file__).parents[2] / "shared/data"
T0 = 1_649_666_184_000_000_000  # 2022-04-11 08:36:24 UTC


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


CSV = "Time (-),A01 [g],F-1 (kN)\n2022-04-11 08:36:24.00,1,10\n2022-04-11 08:36:24.01,2,\n2022-04-11 08:36:24.02,3,30\n"


def test_csv_gives_names_units_time_and_rate(tmp_path: Path) -> None:
    a, f = read_array(written(tmp_path, "x.csv", CSV))
    assert (a.name, a.unit, a.rate_hz, a.t0_ns) == ("A01", "g", 100.0, T0)
    assert a.x.tolist() == [1.0, 2.0, 3.0]
    assert (f.name, f.unit) == ("F-1", "kN")
    np.testing.assert_array_equal(f.x, [10.0, np.nan, 30.0])  # an empty cell is no number


@pytest.mark.parametrize("column", ["A01", "A01 [g]", 0])
def test_column_factor_start_and_rate_are_the_callers(tmp_path: Path, column: str | int) -> None:
    path = written(tmp_path, "x.csv", CSV)
    (a,) = read_array(path, column=column, unit_factor=9.80665, t0="2026-01-01T00:00:00Z", rate_hz=50.0)
    assert a.x.tolist() == pytest.approx([9.80665, 19.6133, 29.41995])
    assert (a.rate_hz, a.t0_ns) == (50.0, 1_767_225_600_000_000_000)


@pytest.mark.parametrize(
    ("stamps_", "how", "t0"),
    [
        (["2022-11-04 08:36:24.0", "2022-11-04 08:36:24.5"], {"day_first": True}, T0),
        (["11.04.2022 08:36:24.000", "11.04.2022 08:36:24.500"], {}, T0),
        (["11/04/2022 08:36:24", "11/04/2022 08:36:24.5"], {"day_first": True}, T0),
        (["04/11/2022 08:36:24", "04/11/2022 08:36:24.5"], {"day_first": False}, T0),
        (["2022-04-11T16:36:24+08:00", "2022-04-11T16:36:24.5+08:00"], {}, T0),
        (["20220411083624.0", "20220411083624.5"], {"time_format": "%Y%m%d%H%M%S.%f"}, T0),
        (["1649666184.0", "1649666184.5"], {}, T0),
        (["1649666184000", "1649666184500"], {}, T0),
        (["0.0", "0.5"], {}, 0),
    ],
)
def test_stamps_of_many_kinds(tmp_path: Path, stamps_: list[str], how: dict[str, object], t0: int) -> None:
    text = "time,p\n" + "".join(f"{s},1\n" for s in stamps_)
    (r,) = read_array(written(tmp_path, "x.csv", text), **how)  # type: ignore[arg-type]
    assert (r.t0_ns, r.rate_hz) == (t0, 2.0)


def test_stamps_rounded_to_milliseconds_give_the_true_rate() -> None:
    k = np.arange(3000)
    t = np.rint(k / 128.0 * 1e3).astype(np.int64) * 1_000_000  # steps of 7 and 8 ms
    assert stamps.pieces(t) == (128.0, [(0, 3000)])


def test_a_gap_splits_and_an_unsteady_clock_is_irregular() -> None:
    t = np.arange(100, dtype=np.int64) * 10_000_000
    t[60:] += 250_000_000
    assert stamps.pieces(t) == (100.0, [(0, 60), (60, 100)])
    unsteady = np.cumsum(np.where(np.arange(100) % 3, 1, 7)).astype(np.int64)
    assert stamps.pieces(unsteady) == (None, [(0, 100)])
    with pytest.raises(ValueError, match="time must rise, does not in row 52"):
        stamps.pieces(np.where(np.arange(100) == 50, 0, t))


def test_irregular_csv_keeps_its_times(tmp_path: Path) -> None:
    text = "t_s;level [m]\n" + "".join(f"{t};{t / 10}\n" for t in (0, 1, 5, 6, 20, 21.5))
    (r,) = read_array(written(tmp_path, "slow.csv", text), t0=5)
    assert r.rate_hz is None
    assert r.t_ns is not None
    assert r.t_ns.tolist() == [5 + round(t * 1e9) for t in (0, 1, 5, 6, 20, 21.5)]
    assert r.t0_ns == 5


def test_zip_whose_member_is_called_zip_and_real_nests_and_gzip(tmp_path: Path) -> None:
    want = read_array(written(tmp_path, "x.csv", CSV))
    inner = zipped(x__csv__zip=CSV.encode())
    for name, content in (("a.zip", inner), ("b.zip", zipped(y__zip=inner)), ("c.csv.gz", gzip.compress(CSV.encode()))):
        got = read_array(written(tmp_path, name, content))
        assert [(r.name, r.t0_ns) for r in got] == [(r.name, r.t0_ns) for r in want]


def test_zip_of_several_tells_them_apart(tmp_path: Path) -> None:
    path = written(tmp_path, "two.zip", zipped(a__csv=CSV.encode(), b__csv=CSV.encode(), read__txt=b"hello"))
    assert [r.name for r in read_array(path)] == ["a:A01", "a:F-1", "b:A01", "b:F-1"]
    assert [r.name for r in read_array(path, key="b.csv", column="A01")] == ["A01"]
    assert [r.name for r in read_array(path, column="A01 [g]")] == ["a:A01", "b:A01"]


def test_npy_and_npz(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.save(tmp_path / "x.npy", x)
    rows = read_array(tmp_path / "x.npy", rate_hz=10.0)
    assert [r.name for r in rows] == ["x-0", "x-1"]
    assert rows[1].x.dtype == np.float32
    np.testing.assert_array_equal(rows[1].x, x[1])
    np.save(tmp_path / "t.npy", x.T)
    np.testing.assert_array_equal(read_array(tmp_path / "t.npy", rate_hz=10.0, time_first=True)[1].x, x[1])
    np.savez(tmp_path / "x.npz", head_m=x, nodes=np.array(["J1", "J2"]), fs=250.0, t0_s=0.5)
    (j2,) = read_array(tmp_path / "x.npz", column="J2")
    assert (j2.rate_hz, j2.t0_ns, j2.x[0]) == (250.0, 500_000_000, 6.0)


@pytest.mark.parametrize(("kind", "full"), [(np.int16, 2**15), (np.int32, 2**31)])
def test_wav_is_a_part_of_full_scale(tmp_path: Path, kind: type, full: int) -> None:
    x = np.array([[0, full // 2], [-full, full - 1]], kind)
    wavfile.write(tmp_path / "n.wav", 8000, x)
    a, b = read_array(tmp_path / "n.wav")
    assert (a.name, a.rate_hz) == ("n-0", 8000.0)
    assert a.x.tolist() == [0.0, -1.0]
    assert b.x.tolist() == pytest.approx([0.5, 1.0], abs=1 / full)


def test_wav_of_24_bits(tmp_path: Path) -> None:
    body = b"".join(v.to_bytes(3, "little", signed=True) for v in (0, 2**22, -(2**23)))
    head = b"WAVEfmt " + (16).to_bytes(4, "little") + bytes.fromhex("01000100") + (100).to_bytes(4, "little")
    head += (300).to_bytes(4, "little") + (3).to_bytes(2, "little") + (24).to_bytes(2, "little")
    chunk = head + b"data" + len(body).to_bytes(4, "little") + body + b"\0"
    path = written(tmp_path, "n24.wav", b"RIFF" + len(chunk).to_bytes(4, "little") + chunk)
    assert read_array(path)[0].x.tolist() == [0.0, 0.5, -1.0]


def test_parquet_with_a_timestamp(tmp_path: Path) -> None:
    t = pa.array(T0 + np.arange(4) * 20_000_000, pa.timestamp("ns", "UTC"))
    schema = pa.schema([pa.field("time", t.type), pa.field("a", pa.float32(), metadata={"unit": "g"})])
    pq.write_table(pa.table([t, pa.array([1, 2, 3, 4], pa.float32())], schema), tmp_path / "x.parquet")
    (r,) = read_array(tmp_path / "x.parquet")
    assert (r.name, r.unit, r.rate_hz, r.t0_ns, r.x.dtype) == ("a", "g", 50.0, T0, np.float32)


V2 = """\
Corrected accelerogram   89324       Chan 13:  Up         from
x                                    Start time: 12/20/22, 10:34: 1.5 UTC (GPS)
 5 points of accel data equally spaced at 0.010 sec, in cm/sec2. (4f8.3)
   0.001   0.002-600.250   0.004
   0.005
 5 points of veloc data equally spaced at 0.010 sec, in cm/sec.  (4f8.3)
   1.000   2.000   3.000   4.000
   5.000
/&  ----------  End of data for channel 13  ----------
"""


def test_csmip_v2(tmp_path: Path) -> None:
    (r,) = read_array(written(tmp_path, "chan016.v2", V2), unit_factor=0.01)
    assert (r.name, r.unit, r.rate_hz) == ("chan-13", "cm/s2", 100.0)
    assert r.t0_ns == 1_671_532_441_500_000_000  # 2022-12-20 10:34:01.5
    assert r.x.tolist() == pytest.approx([1e-5, 2e-5, -6.0025, 4e-5, 5e-5])
    assert csmip.parse(V2, "velocity").x.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.raises(ValueError, match=r"must hold 5 numbers 0.01 s apart, holds 4"):
        csmip.parse("\n".join(V2.splitlines()[:4]))


@pytest.mark.parametrize(
    ("name", "content", "how", "rule"),
    [
        ("x.dat", "1", {}, r"must end in one of .*, is 'x.dat'"),
        ("x.csv", "a,b\n", {}, "must be a header and at least one row, has 1"),
        ("x.csv", "1,2\n3,4\n", {}, "must begin with a header row"),
        ("x.csv", "a,b\n1,2\n", {}, "rate_hz must be given"),
        ("x.csv", "a,b\n1,2\n1\n", {"rate_hz": 1}, "row 3 must have 2 cells, has 1"),
        ("x.csv", "a,b\n1,2\n1,zwei\n", {"rate_hz": 1}, "b in row 3 must be a number, is 'zwei'"),
        ("x.csv", "a,b\n1,2\n", {"rate_hz": 1, "column": "c"}, "column must be one of a, b, is 'c'"),
        ("x.csv", "a,b\n1,2\n", {"rate_hz": 0}, "rate_hz: must be above 0, is 0"),
        ("x.csv", "a,b\n1,2\n", {"rate_hz": 1, "unit_factor": 0}, "unit_factor: must be finite and not 0"),
        ("x.csv", "time,b\n01/02/2022 00:00:00,2\n", {}, "day_first must be given"),
        ("x.csv", "time,b\n2022-13-02 00:00:00,2\n", {}, "must be a date and a time"),
        ("x.v2", "nothing", {}, "must be a CSMIP V2 record"),
        ("x.zip", b"PK\x03\x04 torn", {}, "must be a whole zip"),
    ],
)
def test_refusals_name_rule_and_value(tmp_path: Path, name: str, content: bytes | str, how: dict[str, object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        read_array(written(tmp_path, name, content), **how)  # type: ignore[arg-type]


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs the recordings of ../shared/data")
def test_the_munich_bridge_swaps_day_and_month() -> None:
    path = DATA / "bridges/munich/UniBw_2022-04-11_ref_support_load_01AllM100Hz.csv.zip"
    (r,) = read_array(path, column="ACC01_z", day_first=True, unit_factor=9.80665)
    assert (r.unit, r.rate_hz, len(r.x), r.t0_ns) == ("g", 100.0, 72000, T0 + 897_000_000)


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs the recordings of ../shared/data")
def test_painter_street_has_fifteen_channels_named_by_their_headers() -> None:
    found = read_array(DATA / "bridges/painter_street/nc73821036_ce89324p.zip")
    assert sorted(int(r.name[5:]) for r in found) == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17]
    assert found[0].x.min() == -664.49786  # the header's peak acceleration, to all its digits
    assert {len(r.x) for r in found} == {11346}
