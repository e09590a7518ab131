"""What writing a frame costs where the kernel has brought the pages to the disk meanwhile: the journal beside a copy into a map.

::

    python -m bench.journal_study [--rounds 5] [--mib 256] [--directory DIR]

Each round writes the same files again, after a sync of everything. Processor time of the writing thread, turn about; the map
has neither headers nor checksums, so it is favoured.
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lifeline_core.store.journal import FRAME, Journal

N, SIZE, SEGMENT = 1024, 2464, 16 << 20  # frames of 4 x 200 int24 samples


class Mapped:
    """As many bytes through maps of files, again and again from the beginning."""

    def __init__(self, folder: Path, size: int) -> None:
        self._maps = []
        for k in range(size // SEGMENT):
            fd = os.open(folder / f"map-{k}", os.O_RDWR | os.O_CREAT)
            os.posix_fallocate(fd, 0, SEGMENT)
            self._maps.append(np.frombuffer(mmap.mmap(fd, SEGMENT), np.uint8))
            os.close(fd)
        self._at = 0

    def append(self, frames: np.ndarray) -> None:
        if self._at % SEGMENT + frames.size > SEGMENT:
            self._at += SEGMENT - self._at % SEGMENT
        target, at = self._maps[self._at // SEGMENT % len(self._maps)], self._at % SEGMENT
        target[at : at + frames.size] = frames
        self._at += frames.size


def us_per_frame(append: Callable[[], None], turns: int) -> float:
    begin = time.thread_time()
    for _ in range(turns):
        append()
    return (time.thread_time() - begin) / (turns * N) * 1e6


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--mib", type=int, default=256, help="written in each round, and size of the files")
    ask.add_argument("--directory", help="where; a temporary folder by default")
    given = ask.parse_args()
    frames = np.random.default_rng(1).integers(0, 256, N * SIZE, np.uint8)
    lengths = np.full(N, SIZE, np.int64)
    at, sources = np.arange(N, dtype=np.int64) * SIZE, np.zeros(N, np.uint32)
    size, turns = given.mib << 20, (given.mib << 20) // (N * SIZE)
    with tempfile.TemporaryDirectory(dir=given.directory) as name:
        mapped = Mapped(Path(name), size)
        with Journal(Path(name) / "journal", budget_bytes=size + 4 * SEGMENT, segment_bytes=SEGMENT) as journal:

            def append() -> None:
                journal.append_batch(FRAME, frames, at, lengths, sources)
                journal.release(max(journal.first, journal.end - size))

            rows = []
            for _ in range(given.rounds + 1):
                row = [us_per_frame(append, turns)]
                os.sync()
                row.append(us_per_frame(lambda: mapped.append(frames), turns))
                os.sync()
                rows.append(row)
    ours, maps = (statistics.median(column) for column in zip(*rows[1:], strict=True))  # the first round makes the files
    print(f"processor time a frame of {SIZE} bytes: journal {ours:.2f} us, copy into a map {maps:.2f} us")
    ratios = [m / j for j, m in rows[1:]]
    print(f"ratio {statistics.median(ratios):.2f}, of the rounds {', '.join(f'{r:.2f}' for r in ratios)}")


if __name__ == "__main__":
    main()
