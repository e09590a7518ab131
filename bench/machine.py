"""The roofs of this machine: memory and cache bandwidth, FLOP/s of one thread, for docs/performance.md.

``python -m bench.machine`` (`make roofs`) compiles bench/roofs.c, takes the best of repeated runs and writes build/machine.json;
`python -m bench.table --save` puts the table into the document. Run it on a quiet machine: a roof is what was reached once.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.instructions import compiler
from bench.table import MACHINE, ROOT, figure, processor

SECONDS = 0.6  # of each figure
FLAGS = ["-O3", "-std=gnu11", "-ffast-math", "-shared", "-fPIC"]
# name of the vectors, their bytes, the compiler's flags for them, what /proc/cpuinfo must say
VECTORS = (
    ("AVX-512, FMA", 64, ["-march=x86-64-v4", "-mprefer-vector-width=512"], "avx512f"),
    ("AVX2, FMA", 32, ["-march=x86-64-v3"], "avx2"),
    ("SSE4.2", 16, ["-march=x86-64-v2"], "sse4_2"),
)


def cpu_flags() -> set[str]:
    try:
        found = re.search(r"^flags\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return set(found.group(1).split()) if found else set()


def caches() -> dict[int, int]:
    """Bytes of the data caches of core 0 by level."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            size = (index / "size").read_text().strip()
            found[int((index / "level").read_text())] = int(size.rstrip("KM")) * (1 << 20 if size.endswith("M") else 1 << 10)
    return found


def built(bytes_: int, flags: Sequence[str]) -> ctypes.CDLL:
    target = ROOT / f"build/roofs-{bytes_}.so"
    target.parent.mkdir(exist_ok=True)
    source = ROOT / "bench/roofs.c"
    subprocess.run([*compiler(), *FLAGS, *flags, f"-DBYTES={bytes_}", str(source), "-o", str(target)], check=True)
    library = ctypes.CDLL(str(target))
    for name in ("read_rate", "copy_rate", "first_touch_rate", "flop_rate"):
        getattr(library, name).restype = ctypes.c_double
    return library


def roofs() -> list[dict[str, Any]]:
    """what, value, unit of each."""
    here = cpu_flags()
    usable = [(name, built(size, flags)) for name, size, flags, needs in VECTORS if needs in here or not here]
    wide, seconds = usable[0][1], ctypes.c_double(SECONDS)
    rates = {f"multiply and add, float32, {name}": one.flop_rate(seconds) for name, one in usable}
    found = [{"what": what, "value": rate, "unit": "GFLOP/s"} for what, rate in rates.items()]
    sizes = {f"read, L{level} ({size >> 10:,} KiB)": size * 3 // 4 for level, size in caches().items()}
    for what, size in {**sizes, "read, memory": 256 << 20}.items():
        found.append({"what": what, "value": wide.read_rate(ctypes.c_size_t(size // 4096 * 4096), seconds), "unit": "GB/s"})
    big = ctypes.c_size_t(128 << 20)
    found.append({"what": "copy, memory (read + written)", "value": wide.copy_rate(big, seconds), "unit": "GB/s"})
    found.append({"what": "first write to fresh memory", "value": wide.first_touch_rate(big, seconds), "unit": "GB/s"})
    return found


def main() -> int:
    report = {"processor": processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0], "roofs": roofs()}
    for roof in report["roofs"]:
        print(f"{figure(roof['value']):>8} {roof['unit']:8} {roof['what']}")
    MACHINE.parent.mkdir(exist_ok=True)
    MACHINE.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {MACHINE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
