"""The compiled fuzz of the decoder and the assembler (main.c beside this): built, proved able to find, run on every processor.

::

    python -m tests.fuzz.decoder --frames 10000000                  # make fuzz-frames, without the binding
    python -m tests.fuzz.decoder --frames 10000000 --episode 176    # again what a finding names

The kernels' C files are compiled as they lie in kernels/, with the product's flags and the sanitizers; only malloc and its kin
are renamed, so that what the product holds is known. A fuzz that finds nothing may be blind: before it counts, it must find
faults that are planted into copies of those files (`PLANTS`).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.instructions import aliases, compiler, kernel_sources, recipe
from lifeline_core import wire
from tests.fuzz.frames import as_batch, frames

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
KERNELS = ROOT / "kernels"
KEPT = ROOT / "build/fuzz"
BUILD = ROOT / "build/fuzz-decoder"
STEMS = ("assemble", "journal")
SANITIZERS = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
RENAMED = [f"-D{name}=product_{name}" for name in ("malloc", "calloc", "realloc", "free")]
# What one process may ask for at once, and hold, the driver's own 2^24 samples for comparison among it; city.c states what the
# product itself may: 16 MiB at once, 464 MiB in a city of 19 channels whose rings are all as long as they can get.
LARGEST_MIB, HELD_MIB = 128, 1024
PLANTED_FRAMES, SHORT_PLANTS = 60_000, 2
RUNNING = struct.Struct("<QQQQ64s")  # main.c: struct running
BAD = re.compile(r"^.*(?:BROKEN|runtime error|ERROR: AddressSanitizer|hard rss limit).*(?:\n.*){0,12}", re.M)


class Broken(Exception):
    """What was found, or why nothing can be said."""


@dataclass(frozen=True)
class Plant:
    """A fault put into a copy of a kernel: the first place where ``pattern`` fits becomes ``instead``."""

    name: str
    file: str
    pattern: str
    instead: str


PLANTS = (
    Plant("a block may end behind the frame", "packed.h", r"if \(\(size_t\)\(end - p\) < \(size_t\)16 \* w\) return NULL;", ""),
    Plant("refused numbers are held without bound", "assemble.c", r"\|\| spent_numbers\(s\) >= LL_SPENT", ""),
    Plant("equal times pass", "wire.c", r"<= (LOAD\(int64_t, p \+ 16 \* \(i - 1\)\))", r"< \1"),
    Plant("a trimmed frame begins one sample early", "assemble.c", r"a->unpacked \+ skip\)", "a->unpacked + skip - (skip > 0))"),
    Plant("rings grow as long as frames come", "ring.c", r"if \(need > [^;]*\) return LL_FULL;", ""),
    Plant("streams that go leave frames behind", "assemble.c", r"free\(s->held\[k\]\.bytes\);(?=\n    free\(s->rows\))", ";"),
)


# ---- building ----


def flags() -> tuple[str, list[str]]:
    """The instruction set, and how setup.py compiles for it."""
    names = recipe()
    variants = dict(names["variants"]())
    isa = "avx2" if "avx2" in variants else "baseline"
    return isa, [*names["C_FLAGS"], *variants[isa], f"-DLL_ISA={isa}", *SANITIZERS]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Broken(f"{' '.join(command)}\n{done.stderr.strip()}")


def compile_all(sources: Sequence[Path], into: Path, kernels: Path = KERNELS) -> list[Path]:
    """Objects of kernels and of the driver."""
    into.mkdir(parents=True, exist_ok=True)
    _, common = flags()
    include = [f"-I{kernels}", "-Iinclude", f"-I{HERE}"]

    def one(source: Path) -> Path:
        target = into / f"{source.stem}.o"
        _run([*compiler(), *common, *include, *([] if source.parent == HERE else RENAMED), "-c", str(source), "-o", str(target)])
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, sources))


def link(objects: Sequence[Path], program: Path) -> Path:
    isa, _ = flags()
    others = [name for name in ("baseline", "avx2", "avx512") if name != isa] if isa != "baseline" else []
    names = aliases(kernel_sources(STEMS), isa, others)
    _run([*compiler(), "-fsanitize=address,undefined", *map(str, objects), *names, "-lm", "-o", str(program)])
    return program


def build() -> Path:
    """The driver with the kernels as they are, and the file of sound frames."""
    shutil.rmtree(BUILD, ignore_errors=True)
    objects = compile_all([*kernel_sources(STEMS), *sorted(HERE.glob("*.c"))], BUILD)
    (BUILD / "seeds").write_bytes(as_batch(sound_frames()))
    return link(objects, BUILD / "fuzz")


def plant(fault: Plant, number: int) -> Path:
    """The driver with that fault in it; only what holds the fault is compiled anew."""
    into = BUILD / f"plant-{number}"
    shutil.copytree(KERNELS, into, ignore=shutil.ignore_patterns("*.pyx", "*.pxd"))
    file = into / fault.file
    text, n = re.subn(fault.pattern, fault.instead, file.read_text(encoding="utf-8"), count=1)
    if not n:
        raise Broken(f"the planted fault {fault.name!r} has no place in kernels/{fault.file} any more: tests/fuzz/decoder.py")
    file.write_text(text, encoding="utf-8")
    sources = [into / p.name for p in kernel_sources(STEMS)]
    anew = [p for p in sources if p == file or f'"{fault.file}"' in p.read_text(encoding="utf-8")]
    objects = compile_all(anew, into, into)
    kept = [p for p in BUILD.glob("*.o") if p.stem not in {q.stem for q in anew}]
    return link([*objects, *kept], into / "fuzz")


def sound_frames() -> list[bytes]:
    """Every encoding, type, shape and flag, from the Python packer."""
    rng = np.random.default_rng(1)
    found = frames(rng, 3)
    told = {"device": 1, "t0_ns": 1_790_000_000_000_000_000, "rate": 20}
    wide = rng.integers(-(2**31), 2**31, (2, 130))
    found.append(wire.pack(wide[:, :3].astype(np.int32), epoch=3, **told))
    for x in (wide, wide[:1, :1], np.zeros((8, 1000))):
        found.append(wire.pack(x.astype(np.int32), encoding=wire.PACKED, epoch=3, **told))
    for size in (1, 20, 178):  # the last one fills the header
        found.append(wire.pack(np.int16([[1, 2], [3, 4]]), extensions={"k" * size: 1}, **told))
    found.append(wire.pack(np.float32([[np.nan, np.inf, -0.0]]), flags=31, clock_sd_us=2**32 - 1, epoch=4, **told))
    found.append(wire.pack(np.float64([[1e308, 5e-324]]), channel=65535, **told | {"device": 2**32 - 1}))
    found.append(wire.pack(device=1, type=wire.HEALTH, body=b"\x81\xa7battery\x0c"))
    found.append(wire.pack(device=1, type=wire.HELLO, body=bytes(300)))
    return [*found, found[0] + found[1], b"", b"\x81\xa1v\x01"]


# ---- running ----


def environment() -> dict[str, str]:
    bounds = f"max_allocation_size_mb={LARGEST_MIB}:hard_rss_limit_mb={HELD_MIB}:quarantine_size_mb=16"
    return os.environ | {
        "ASAN_OPTIONS": f"detect_leaks=0:allocator_may_return_null=1:{bounds}",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _command(program: Path, frames: int, seed: int, part: int, parts: int, episode: int | None) -> list[str]:
    kept = KEPT / f"decoder-{part}.running"
    words = {"frames": frames, "seed": seed, "part": part, "parts": parts, "seeds": BUILD / "seeds", "keep": kept}
    if episode is not None:
        words["episode"] = episode
    return [str(program), *(str(w) for name, value in words.items() for w in (f"--{name}", value))]


def _finding(part: int, stderr: str, status: int) -> str:
    """What a process that ended said, and where its frame now lies."""
    running, said = KEPT / f"decoder-{part}.running", BAD.search(stderr)
    text = said.group(0) if said else stderr.strip()[:2000] or f"the process ended with status {status}"
    raw = running.read_bytes() if running.exists() else b""
    if len(raw) < RUNNING.size:
        return text
    seed, episode, number, length, _ = RUNNING.unpack_from(raw)
    kept = KEPT / f"decoder-{seed}-{episode}-{number}.bin"
    kept.write_bytes(raw[RUNNING.size : RUNNING.size + length])
    running.unlink()
    return f"{text}\nframe {number} of episode {episode}, seed {seed}: {kept.relative_to(ROOT)}"


def _added(outputs: Sequence[str]) -> dict[str, int]:
    """The figures of all processes: sums, of the last two the largest."""
    total: dict[str, int] = {}
    for name, value in re.findall(r"(\S+)=(\d+)", "\n".join(re.findall(r"^(?:figures|refused): .*$", "\n".join(outputs), re.M))):
        total[name] = max(total.get(name, 0), int(value)) if name in ("held_kib", "rss_mib") else total.get(name, 0) + int(value)
    return total


def _start(command: Sequence[str], where: Path) -> subprocess.Popen[bytes]:
    with where.open("w") as out, where.with_suffix(".stderr").open("w") as err:
        return subprocess.Popen(command, env=environment(), stdout=out, stderr=err)


def run(program: Path, frames: int, seed: int, *, episode: int | None = None, quiet: bool = False) -> dict[str, int]:
    """So many mutated frames, shared by all processors; the figures, or Broken with the first finding."""
    KEPT.mkdir(parents=True, exist_ok=True)
    parts, children, ended = os.cpu_count() or 1, [], []
    for part in range(parts) if episode is None else [episode % parts]:
        where = BUILD / f"said-{part}"
        children.append((part, where, _start(_command(program, frames, seed, part, parts, episode), where)))
    begin = told = time.monotonic()
    while any(child.poll() is None for _, _, child in children):
        time.sleep(0.1)
        if any(child.poll() for _, _, child in children):  # one has found something: the others need not go on
            for _, _, child in children:
                child.terminate()
        if not quiet and time.monotonic() > told + 20:
            told = time.monotonic()
            done = sum(int((re.findall(r"^fuzz: (\d+)", w.read_text(), re.M) or ["0"])[-1]) for _, w, _ in children)
            print(f"fuzz: decoder: {done:,} of {frames:,} frames, {told - begin:.0f} s", flush=True)
    for part, where, child in children:
        stderr = where.with_suffix(".stderr").read_text(errors="replace")
        if child.returncode not in (0, -15):
            raise Broken(_finding(part, stderr, child.returncode))
        ended.append(where.read_text())
    return _added(ended)


def probe(most: int) -> list[str]:
    """Every planted fault must be found; their names."""
    for number, fault in enumerate(PLANTS[:most]):
        try:
            run(plant(fault, number), PLANTED_FRAMES, 1, quiet=True)
        except Broken as found:
            if not BAD.search(str(found)):
                raise
            for kept in KEPT.glob("decoder-1-*.bin"):
                kept.unlink()
            continue
        raise Broken(f"the fuzz is blind: in {PLANTED_FRAMES:,} frames it did not find that {fault.name}")
    return [fault.name for fault in PLANTS[:most]]


def tell(total: dict[str, int], seconds: float, planted: Sequence[str]) -> None:
    f = {name: f"{value:,}" for name, value in total.items()}
    refused = ", ".join(f"{name} {f[name]}" for name in wire.REFUSALS[1:] if total.get(name))
    print(f"fuzz: decoder: {f['frames']} mutated frames in {seconds:.0f} s, each as it is and with its CRC, sound ones among them")
    print(f"fuzz: {f['fed']} fed, {f['accepted']} accepted, {f['refused']} refused; by reason, also the assembler's: {refused}")
    print(f"fuzz: {f['compared']} decoded a second time by hand, {f['values']} values the same")
    print(f"fuzz: assembler: {f['records']} records, {f['pieces']} pieces, {f['breaks']} breaks, {f['states']} states loaded, "
          f"{f['states_refused']} refused; {f['segments']} segments of the journal")  # fmt: skip
    print(f"fuzz: held at most {total['held_kib'] >> 10} MiB, the process {f['rss_mib']} MiB")
    print(f"fuzz: planted and found: {'; '.join(planted)}", flush=True)


def fuzz(frames: int, seed: int = 1, short: bool = False) -> None:
    """Build, prove, run."""
    program = build()
    planted = probe(SHORT_PLANTS if short else len(PLANTS))
    begin = time.monotonic()
    tell(run(program, frames, seed), time.monotonic() - begin, planted)


def main() -> int:
    ask = argparse.ArgumentParser(description="Mutated frames into the decoder and the assembler, compiled.")
    ask.add_argument("--frames", type=int, default=200_000)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--episode", type=int, help="only this one, as a finding names it (with the same --frames and --seed)")
    ask.add_argument("--short", action="store_true", help="fewer planted faults")
    given = ask.parse_args()
    try:
        if given.episode is not None:
            run(build(), given.frames, given.seed, episode=given.episode)
        else:
            fuzz(given.frames, given.seed, given.short)
    except Broken as found:
        print(f"FOUND {found}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
