"""pyOMA-2 at work in a process of its own, so that its interpreter and its libraries may be others than ours.

The child is given the record once and then does one run a word: ``plain`` or ``uncertain``; it answers with the seconds
of processor time. One thread, as ours.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
MISSING = "pyOMA-2 is not installed in {}: pip install pyOMA_2 there, or name another interpreter with --peer"

CHILD = """
import sys, time, logging
try:
    import numpy as np
    from pyoma2.algorithms import ssi
    from pyoma2.setup.single import SingleSetup
    from importlib.metadata import version
except ImportError as fault:
    print("missing", fault, flush=True)
    raise SystemExit
logging.disable(logging.CRITICAL)
path, fs, br, order, step, blocks = sys.argv[1], float(sys.argv[2]), *map(int, sys.argv[3:])
x = np.ascontiguousarray(np.load(path).T)
kind, method = (ssi.SSI, "cov") if hasattr(ssi, "SSI") else (ssi.SSIcov, "cov_mm")
print("ready", version("pyOMA-2"), method, flush=True)
for line in sys.stdin:
    setup = SingleSetup(x.copy(), fs=fs)
    uncertain = line.strip() == "uncertain"
    setup.add_algorithms(kind(name="a", method=method, br=br, ordmax=order, step=step, calc_unc=uncertain, nb=blocks))
    begin = time.process_time()
    setup.run_by_name("a")
    print(time.process_time() - begin, flush=True)
"""


class PeerMissing(Exception):
    """pyOMA-2 cannot be imported by the interpreter named."""


class Peer:
    """The child; `run` is one identification, in seconds as it measured them. A context: it ends with it."""

    def __init__(self, python: str, x: NDArray[np.float64], fs: float, br: int, order_max: int, *, step: int = 2,
                 blocks: int = 40) -> None:
        self._folder = tempfile.TemporaryDirectory()
        record = Path(self._folder.name) / "record.npy"
        np.save(record, x)
        numbers = [str(n) for n in (fs, br, order_max, step, blocks)]
        env = os.environ | dict.fromkeys(THREADS, "1") | {"TQDM_DISABLE": "1"}
        try:
            self._child = subprocess.Popen([python, "-c", CHILD, str(record), *numbers], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        except OSError as error:
            self._folder.cleanup()
            raise PeerMissing(f"{python} cannot be started: {error}") from error
        self.version = self._answer()
        if not self.version.startswith("ready "):
            self.close()
            raise PeerMissing(MISSING.format(python))

    def _answer(self) -> str:
        """A line of the child; libraries print of their own, those lines are passed over."""
        assert self._child.stdout is not None
        for line in self._child.stdout:
            word = line.split(" ", 1)[0].strip()
            if word in ("ready", "missing") or word.replace(".", "", 1).replace("e-", "", 1).isdigit():
                return line.strip()
        return "missing: it ended"

    def run(self, uncertain: bool) -> float:
        assert self._child.stdin is not None
        self._child.stdin.write("uncertain\n" if uncertain else "plain\n")
        self._child.stdin.flush()
        answer = self._answer()
        if not answer[:1].isdigit():
            raise RuntimeError(f"pyOMA-2 ended in a run ({'uncertain' if uncertain else 'plain'}) without an answer")
        return float(answer)

    def close(self) -> None:
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
