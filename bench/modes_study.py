"""How long it takes to know a structure's modes, and to know them again after ten seconds more; one core.

    python -m bench.modes_study speed [--peer PYTHON] [--rounds 7] [--uncertain 1]   beside pyOMA-2 on the same record, turn about
    python -m bench.modes_study sliding [--fs 50] [--rounds 12]       a block of 10 s into a window of 600 s, modes read again
    python -m bench.modes_study cross [--rounds 5]                    running cross-spectra, samples of all channels a second
    python -m bench.modes_study parts [--order 120]                   where the time of an identification goes

The record: a chain of --channels masses under ambient load, 20 dB of sensor noise, --samples at --fs Hz. pyOMA-2's uncertainty
takes about a minute a run: --uncertain says how many runs (0: none); --samples, --br and --order make everything smaller.
--peer is the interpreter that has pyOMA-2 (default: this one); it works in a child process with one thread, as we do. Times are
processor time, so that others on the machine disturb them little.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.modes_peer import Peer, PeerMissing
from lifeline_core.bridges import identify_modes, ssi_cov
from lifeline_core.bridges.covariance import RunningLags, lag_covariances
from lifeline_core.bridges.identify import Demands, modes_of, stable
from lifeline_core.bridges.ssi import ssi_from
from lifeline_core.dsp import Running
from lifeline_core.synth.chain import chain

Real = NDArray[np.float64]
WINDOW_S, BLOCK_S = 600.0, 10.0
GROUPS = (None, 40, 20, 12)  # of blocks: each deviation is then uncertain by 9, 11, 16 and 21 %


def seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def record(n_ch: int, n: int, fs: float) -> Real:
    """Ambient responses; the highest mode lies at about 0.42 of the rate / 2."""
    return chain(n_ch, 0.01 * fs, [0.01] * n_ch).acceleration(n, fs, np.random.default_rng(1))


def line(name: str, ours: list[float], theirs: list[float], least: float) -> str:
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return (f"{name:44s} ours {statistics.median(ours) * 1e3:8.1f} ms   peer {statistics.median(theirs) * 1e3:9.1f} ms   "
            f"{statistics.median(ratios):6.1f} x ({ratios[0]:.1f}..{ratios[-1]:.1f}), target {least:g}")


def speed(a: argparse.Namespace) -> int:
    x = record(a.channels, a.samples, a.fs)
    keys = {"br": a.br, "order_max": a.order}
    works = {"ssi_cov beside SSI-cov": lambda: ssi_cov(x, a.fs, **keys),
             "identify_modes beside SSI-cov": lambda: identify_modes(x, a.fs, **keys)}
    certain = {"ssi_cov(uncertainty) beside calc_unc": lambda: ssi_cov(x, a.fs, uncertainty=True, **keys),
               "identify_modes beside calc_unc": works["identify_modes beside SSI-cov"]}
    for work in (*works.values(), *certain.values()):
        work()
    with ExitStack() as stack:
        try:
            peer = stack.enter_context(Peer(a.peer, x, a.fs, a.br, a.order, step=a.step))
        except PeerMissing as missing:
            print(missing, file=sys.stderr)
            for name, work in {**works, **certain}.items():
                print(f"{name:44s} ours {statistics.median(seconds(work) for _ in range(a.rounds)) * 1e3:8.1f} ms")
            return 1
        print(f"{a.channels} channels x {a.samples} samples, br {a.br}, orders to {a.order}; peer {peer.version}, step {a.step}")
        for some, uncertain, rounds, least in ((works, False, a.rounds, 12.0), (certain, True, a.uncertain, 100.0)):
            times: dict[str, list[float]] = {name: [] for name in some}
            theirs = []
            if not uncertain:
                peer.run(False)  # its first run loads what it needs
            for _ in range(rounds):
                for name, work in some.items():
                    times[name].append(seconds(work))
                theirs.append(peer.run(uncertain))
            for name, ours in times.items() if rounds else ():
                print(line(name, ours, theirs, least), flush=True)
    return 0


def sliding(a: argparse.Namespace) -> int:
    """Each turn: a block pushed, covariances read, poles, modes."""
    lags, block = 2 * a.br - 1, round(BLOCK_S * a.fs)
    keep = round(WINDOW_S / BLOCK_S)
    x = record(a.channels, (keep + a.rounds + 1) * block + lags, a.fs)
    print(f"{a.channels} channels at {a.fs:g} Hz, br {a.br}, orders to {a.order}: a block of {BLOCK_S:g} s into {WINDOW_S:g} s; "
          "target 100 ms")
    rows = [("none", False, None), *(("none", True, g) for g in GROUPS)]
    rows += [("canonical", False, None), ("canonical", True, GROUPS[-1])]
    for weights, uncertain, groups in rows:
        running = RunningLags(a.channels, a.fs, lags, block=block, keep=keep)
        running.push(x[:, : keep * block + lags])
        whole, found = [], 0
        for k in range(a.rounds):
            at = (keep + k) * block + lags
            begin = time.process_time()
            running.push(x[:, at : at + block])
            read = running.read(groups)
            poles = ssi_from(read, a.br, a.order, uncertainty=uncertain, weights=weights)
            found = len(modes_of(poles, read.duration_s)) if uncertain else len(poles)
            whole.append(time.process_time() - begin)
        what = f"with standard deviations from {groups or keep} blocks, {found} modes" if uncertain else f"without, {found} poles"
        what = f"{what}, weights {weights}"
        print(f"{what:76s} {statistics.median(whole) * 1e3:7.1f} ms (least {min(whole) * 1e3:.1f}, most {max(whole) * 1e3:.1f})")
    return 0


def cross(a: argparse.Namespace) -> int:
    """Blocks of 10 s at 100 Hz pushed and one look at the end; the window does its transforms when somebody looks."""
    n = round(100 * WINDOW_S)
    x = np.random.default_rng(1).standard_normal((a.channels, n), dtype=np.float32)
    forms = {"of everything": {}, "forgetting 600 s": {"forgetting": WINDOW_S}, "last 600 s": {"seconds": WINDOW_S}}
    for nperseg in (1024, 2048):
        for name, keys in forms.items():
            running = Running(a.channels, 100.0, nperseg=nperseg, cross=True, **keys)
            pushed, looks = [], []
            for _ in range(a.rounds + 1):  # the first one fills the window
                begin = time.process_time()
                for k in range(0, n, 1000):
                    running.push(x[:, k : k + 1000])
                running.csd_matrix()
                pushed.append(time.process_time() - begin)
                running.push(x[:, :1000])
                looks.append(seconds(running.csd_matrix))
            rate = a.channels * n / statistics.median(pushed[1:]) / 1e6
            print(f"{a.channels} channels, nperseg {nperseg}, {name:18s} {rate:7.1f} M samples/s (target 100), "
                  f"a look 10 s later {statistics.median(looks[1:]) * 1e3:6.2f} ms")
    return 0


def parts(a: argparse.Namespace) -> int:
    """Of one identification with standard deviations."""
    x = record(a.channels, a.samples, a.fs)
    lags = lag_covariances(x, a.fs, 2 * a.br - 1, n_blocks=40)
    poles = ssi_from(lags, a.br, a.order, uncertainty=True)
    works: dict[str, Callable[[], object]] = {
        "lag covariances": lambda: lag_covariances(x, a.fs, 2 * a.br - 1, n_blocks=40),
        "poles": lambda: ssi_from(lags, a.br, a.order),
        "poles with standard deviations": lambda: ssi_from(lags, a.br, a.order, uncertainty=True),
        "poles compared from order to order": lambda: stable(poles, Demands()),
        "modes: compared, clustered, judged": lambda: modes_of(poles, a.samples / a.fs),
    }
    print(f"{a.channels} channels x {a.samples} samples, br {a.br}, orders to {a.order}: {len(poles)} poles")
    for name, work in works.items():
        print(f"{name:40s} {statistics.median(seconds(work) for _ in range(a.rounds)) * 1e3:8.2f} ms")
    return 0


def main(given: Sequence[str] | None = None) -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=("speed", "sliding", "cross", "parts"))
    words.add_argument("--peer", default=sys.executable, metavar="PYTHON")
    words.add_argument("--step", type=int, default=2, help="of the peer's orders; 2: the even ones, as ours")
    words.add_argument("--uncertain", type=int, default=1, help="runs with pyOMA-2's uncertainty")
    words.add_argument("--rounds", type=int, default=7)
    words.add_argument("--channels", type=int, default=16)
    words.add_argument("--samples", type=int, default=30_000)
    words.add_argument("--fs", type=float, default=50.0)
    words.add_argument("--br", type=int, default=30)
    words.add_argument("--order", type=int, default=60)
    a = words.parse_args(given)
    if min(a.rounds, a.channels, a.br - 1, a.order - 1) < 1 or a.uncertain < 0:
        words.error("rounds and channels are 1 or more, br and order 2 or more, uncertain 0 or more")
    with threadpool_limits(1):
        return {"speed": speed, "sliding": sliding, "cross": cross, "parts": parts}[a.what](a)


if __name__ == "__main__":
    sys.exit(main())
