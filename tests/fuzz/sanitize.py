"""Kernels built with ASan and UBSan into a folder of their own, their tests and the fuzz run against that build.

::

    python -m tests.fuzz.sanitize [--short]                 # make sanitize [SHORT=1]
    python -m tests.fuzz.sanitize --fuzz-only --seconds 60  # make fuzz SECONDS=60
    python -m tests.fuzz.sanitize --frames 10000000         # make fuzz-frames: so many mutated frames through decoder and assembler

The build goes to build/sanitize, never into the package: there stand the sanitized modules beside links to the package's
Python files, and PYTHONPATH puts that first. That the sanitized code is what runs is not believed but looked at, and a toy
that reads past its array must be caught, before anything else counts.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import setuptools

from bench.instructions import aliases, recipe
from tests.fuzz import decoder

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
BUILD = ROOT / "build/sanitize"
PACKAGES = BUILD / "lib"
REPORT = BUILD / "report"  # what the sanitizers wrote: UBSan beside ASan knows no log_path, so it is the run's stderr
SCRIPT = "from tests.fuzz.sanitize import compile_modules; compile_modules()"

# The C half meets both sanitizers; the binding only ASan, because its C is Cython's.
C_FLAGS = "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined"
BINDING_FLAGS = "-fsanitize=address"
# No frame of a few KiB may ask for more at once; ASan then gives NULL, which is a MemoryError and so a finding.
LARGEST_MIB, HELD_MIB = 64, 3072
SHORT_MOST = 1000  # inputs of each entry in the short form: a quick machine meets none that were not run by hand before
SHORT_FRAMES, BOUND_FRAMES = 200_000, 20_000  # of the decoder's fuzz: compiled in the short form, through the binding at most
ISAS = ("avx2", "baseline")  # the short form: the first

TOY = r"""
#include <stdlib.h>
int past(int i) { int *a = malloc(4 * sizeof *a); a[0] = 1; int v = a[i]; free(a); return v; }
int shifted(int i) { return 1 << i; }
"""
TOY_CALL = "import ctypes, sys; print(getattr(ctypes.CDLL(sys.argv[1]), sys.argv[2])(int(sys.argv[3])))"
LOOK = """
import importlib, pathlib, sys
for name in sys.argv[2:]:
    file = importlib.import_module(name).__file__
    assert file.startswith(sys.argv[1]), f"{name} came from {file}, not from the sanitized build"
maps = pathlib.Path("/proc/self/maps").read_text()
assert "libasan" in maps and "libubsan" in maps, "the sanitizers are not in this process"
"""


class Dirty(Exception):
    """What was found, or why nothing can be said."""


def library(name: str) -> str:
    """Path of one of gcc's runtime libraries."""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
    return str(Path(found).resolve()) if "/" in found else ""


def environment(isa: str = "avx2") -> dict[str, str]:
    """In which the sanitized modules run: their runtime first, Python's own allocator out of the way."""
    runtime = [library(name) for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")]
    if not all(runtime[:2]):
        raise Dirty("gcc has no libasan or libubsan here")
    return os.environ | {
        "LD_PRELOAD": " ".join(filter(None, runtime)),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": f"{PACKAGES}{os.pathsep}{ROOT}",
        "LIFELINE_ISA": isa,
        "OPENBLAS_NUM_THREADS": "1",
    }


def compile_modules() -> None:
    """setup.py's own build with fewer instruction sets and a binding that compiles quickly; run in a process with the flags."""
    names, isas = recipe(), os.environ["SANITIZE_ISAS"].split()
    every = names["variants"]()
    kept = [v for v in every if v[0] in isas] or every[:1]
    names["variants"] = lambda: kept
    modules = names["extensions"]()
    for module in modules:
        module.extra_compile_args = ["-O0", "-D_GNU_SOURCE"]
        sources = [ROOT / name for name in module.c_kernels]
        module.extra_link_args = list(aliases(sources, kept[0][0], [v[0] for v in every if v not in kept]))
    setuptools.setup(name="sanitized", ext_modules=modules, cmdclass={"build_ext": names["BuildKernels"]}, script_args=sys.argv[1:])


def build(isas: Sequence[str] = ISAS) -> list[str]:
    """Compile what changed, link the Python files beside it; names of the modules. A build with more variants is kept."""
    noted, built = BUILD / "isas", modules()
    have = noted.read_text(encoding="utf-8").split() if noted.exists() else []
    if not {*isas} <= {*have}:
        shutil.rmtree(PACKAGES, ignore_errors=True)
    wanted = " ".join(have if {*isas} <= {*have} else isas)
    flags = {"LL_CFLAGS": C_FLAGS, "CFLAGS": BINDING_FLAGS, "LDFLAGS": "-fsanitize=address,undefined", "KERNELS": ""}
    where = ["--build-lib", str(PACKAGES), "--build-temp", str(BUILD / "temp")]
    command = [sys.executable, "-c", SCRIPT, "-q", "build_ext", "-j", str(os.cpu_count()), *where]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | flags | {"SANITIZE_ISAS": wanted}, capture_output=True, text=True)
    if done.returncode:
        raise Dirty(f"the sanitized build failed\n{done.stdout}{done.stderr}")
    noted.write_text(wanted, encoding="utf-8")
    link_python()
    return built


def link_python() -> None:
    """Links to the package's Python files beside the sanitized modules."""
    for old in PACKAGES.rglob("*"):
        if old.is_symlink():
            old.unlink()
    for path in (p for p in SOURCE.rglob("*") if p.is_file() and p.suffix not in {".so", ".pyc"}):
        link = PACKAGES / path.relative_to(SOURCE)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def modules() -> list[str]:
    """The compiled modules by their full names."""
    found = []
    for pyx in sorted((ROOT / "kernels").glob("_*.pyx")):
        serves = re.search(r"^# serves: *(\S+)", pyx.read_text(encoding="utf-8"), re.M)
        found.append(f"{serves.group(1) if serves else 'lifeline_core'}.{pyx.stem}")
    return found


def findings(text: str) -> list[str]:
    """The first line of each finding of UBSan, the first dozen of each of ASan's, each once."""
    found = re.findall(r"^.*runtime error: .*$|^.*ERROR: AddressSanitizer.*(?:\n.*){0,12}", text, re.M)
    return list(dict.fromkeys(line.strip() for line in found))


def probe(modules: list[str]) -> None:
    """The sanitized modules are what runs, and what is wrong is caught."""
    source, toy = BUILD / "toy.c", BUILD / "toy.so"
    source.write_text(TOY, encoding="utf-8")
    subprocess.run(["gcc", *C_FLAGS.split(), "-shared", "-fPIC", str(source), "-o", str(toy)], check=True)
    env = environment()
    look = subprocess.run([sys.executable, "-c", LOOK, str(PACKAGES), *modules], cwd=ROOT, env=env, capture_output=True, text=True)
    if look.returncode:
        raise Dirty(f"what would run is not the sanitized build\n{look.stderr}")
    for call, index, sign in (("past", "4", "heap-buffer-overflow"), ("shifted", "33", "shift exponent 33")):
        told = subprocess.run([sys.executable, "-c", TOY_CALL, str(toy), call, index], env=env, capture_output=True, text=True)
        if not any(sign in line for line in findings(told.stderr)):
            raise Dirty(f"the toy {call}({index}) was not caught: expected {sign}, got {told.stderr!r}")


def test_files() -> list[str]:
    """The tests of every kernel."""
    stems = sorted(p.stem[1:] for p in (ROOT / "kernels").glob("_*.pyx"))
    return [f"tests/test_{stem}.py" for stem in stems if (ROOT / f"tests/test_{stem}.py").exists()]


def run(what: str, command: list[str], env: dict[str, str]) -> None:
    begin = time.monotonic()
    print(f"sanitize: {what}", flush=True)
    with REPORT.open("w", encoding="utf-8") as report:
        done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, stderr=report)
    text = REPORT.read_text(encoding="utf-8", errors="replace")
    found = findings(text)
    if done.returncode or found:
        rest = found or text.splitlines()[-20:]
        raise Dirty("\n".join([f"{what}: status {done.returncode}, {len(found)} findings ({REPORT.relative_to(ROOT)})", *rest]))
    print(f"sanitize: {what}: clean, {time.monotonic() - begin:.0f} s", flush=True)


def tests(isa: str, short: bool) -> None:
    quick = ["-m", "not slow", "-x"] if short else []
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "--capture", "sys", "--timeout", "600"]
    run(f"the kernels' tests, {isa}", ["-m", "pytest", *quiet, *quick, *test_files()], environment(isa))


def fuzz(isa: str, seconds: float, most: int, seed: int) -> None:
    bounds = ["--seconds", str(seconds), "--most", str(most), "--seed", str(seed)]
    run(f"fuzz, {isa}", ["-m", "tests.fuzz.drive", *bounds], environment(isa))


def decode(frames: int, short: bool = False) -> None:
    """``frames`` mutated frames through decoder and assembler, by the compiled driver."""
    try:
        decoder.fuzz(frames, short=short)
    except decoder.Broken as found:
        raise Dirty(str(found)) from found


def bind(isa: str, frames: int) -> None:
    """The binding of the decoder on ``frames`` mutated frames: some hundred a second, which is why most are left to `decode`."""
    bounds = f":max_allocation_size_mb={LARGEST_MIB}:hard_rss_limit_mb={HELD_MIB}"
    env = environment(isa)
    env["ASAN_OPTIONS"] += bounds
    words = ["-m", "tests.fuzz.drive", "--only", "wire", "--inputs", str(frames)]
    run(f"{frames:,} mutated frames through the binding, {isa}", words, env)


def main() -> int:
    ask = argparse.ArgumentParser(description="Kernels under ASan and UBSan.")
    ask.add_argument("--short", action="store_true", help="avx2 tests and a second of fuzz an entry: what CI runs")
    ask.add_argument("--fuzz-only", action="store_true")
    ask.add_argument("--seconds", type=float, help="fuzz each entry for so long")
    ask.add_argument("--most", type=int, default=0, help="no more than so many mutated inputs an entry")
    ask.add_argument("--seed", type=int, default=1, help="of the mutations; the short form keeps to 1")
    ask.add_argument("--frames", type=int, help="only decoder and assembler, on so many mutated frames")
    given = ask.parse_args()
    if not shutil.which("gcc"):
        print("SKIPPED: sanitize needs gcc with libasan")
        return 0
    seconds = given.seconds or (1.0 if given.short else 10.0)
    try:
        begin = time.monotonic()
        isas = ISAS[:1] if given.short or given.fuzz_only or given.frames else ISAS
        probe(build(isas))
        print(f"sanitize: built and probed, {time.monotonic() - begin:.0f} s", flush=True)
        if given.frames:
            bind(isas[0], min(given.frames, BOUND_FRAMES))
            decode(given.frames)
            return 0
        if not given.fuzz_only:
            decode(SHORT_FRAMES if given.short else 5 * SHORT_FRAMES, given.short)
        for isa in isas:
            if not given.fuzz_only:
                tests(isa, given.short)
            fuzz(isa, seconds, SHORT_MOST if given.short else given.most, 1 if given.short else given.seed)
    except Dirty as found:
        print(f"FAIL  {found}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
