"""Instructions of every kernel verb, counted by callgrind: they repeat exactly where seconds do not.

bench/counts/<stem>.c prepares a small piece of work and calls each verb once (see count.h). All of them are compiled with the
kernels' C files, with the flags setup.py gives, for AVX2 (valgrind 3.19 knows no AVX-512), and each stem runs in a process of
its own, so that what one allocates never moves the memory of another.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "kernels"
COUNTS = ROOT / "bench/counts"
BUILD = ROOT / "build/counts"
ISAS = ("baseline", "avx2", "avx512")


class CountError(Exception):
    """What could not be built or counted, with what the tool said."""


def recipe() -> dict[str, Any]:
    """The names of setup.py (C_FLAGS, variants, directive ...) without its last line, the build itself."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant)]
    names: dict[str, Any] = {"__file__": str(ROOT / "setup.py"), "__name__": "setup"}
    exec(compile(tree, "setup.py", "exec"), names)
    return names


def kernel_sources(stems: Sequence[str]) -> list[Path]:
    """The C files of these kernels, each once, whichever module they are linked into."""
    directive = recipe()["directive"]
    found: dict[str, Path] = {}
    for pyx in (KERNELS / f"_{stem}.pyx" for stem in stems):
        for name in (f"{pyx.stem[1:]}.c", *directive(pyx.read_text(encoding="utf-8"), "with").split()):
            if (KERNELS / name).exists():
                found[name] = KERNELS / name
    return list(found.values())


def kernel_stems() -> list[str]:
    """Kernels with C of their own."""
    return [p.stem[1:] for p in sorted(KERNELS.glob("_*.pyx")) if (KERNELS / f"{p.stem[1:]}.c").exists()]


def count_stems() -> list[str]:
    return sorted(p.stem for p in COUNTS.glob("*.c") if p.stem != "main")


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")[:1]


def tools() -> dict[str, str]:
    """Versions that the counts depend on."""
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True).stdout if shutil.which("valgrind") else ""
    return {
        "gcc": subprocess.run([*compiler(), "-dumpfullversion"], capture_output=True, text=True).stdout.strip(),
        "libc": (os.confstr("CS_GNU_LIBC_VERSION") or "unknown").removeprefix("glibc "),
        "valgrind": valgrind.strip().removeprefix("valgrind-"),
    }


def why_not() -> str:
    """Why nothing can be counted here, or nothing."""
    if not shutil.which("valgrind"):
        return "instructions are not counted: valgrind is missing (apt install valgrind)"
    if "avx2" in dict(recipe()["variants"]()) and " avx2 " not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        return "instructions are not counted: this processor has no AVX2"
    return ""


def _flags(extra: Sequence[str]) -> list[str]:
    names = recipe()
    variants = dict(names["variants"]())
    isa = "avx2" if "avx2" in variants else "baseline"
    return [*names["C_FLAGS"], *variants[isa], f"-DLL_ISA={isa}", "-Ikernels", "-Ibench/counts", *extra]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise CountError(f"{' '.join(command)}\n{done.stderr.strip()}")


def build(stems: Sequence[str], extra: Sequence[str] = (), into: Path = BUILD) -> Path:
    """The program that counts; objects that are newer than all they are made of stay."""
    flags = _flags(extra)
    into.mkdir(parents=True, exist_ok=True)
    noted = into / "flags"
    same = noted.exists() and noted.read_text(encoding="utf-8") == " ".join(flags)
    headers = max(p.stat().st_mtime for p in [*KERNELS.glob("*.h"), COUNTS / "count.h"])

    def object_of(source: Path, name: str, more: Sequence[str] = ()) -> Path:
        target = into / f"{name}.o"
        fresh = same and not more and target.exists() and target.stat().st_mtime > max(headers, source.stat().st_mtime)
        if not fresh:
            _run([*compiler(), *flags, *more, "-c", str(source), "-o", str(target)])
        return target

    listed = " ".join(f"STEM({stem})" for stem in stems)
    kernels = kernel_sources(stems)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(object_of, p, f"kernel-{p.stem}") for p in kernels]
        jobs += [pool.submit(object_of, COUNTS / f"{stem}.c", f"count-{stem}") for stem in stems]
        jobs.append(pool.submit(object_of, COUNTS / "main.c", "main", [f"-DCOUNT_STEMS={listed}"]))
        objects = [job.result() for job in jobs]
    program = into / "counts"
    have = next(f.removeprefix("-DLL_ISA=") for f in flags if f.startswith("-DLL_ISA="))
    links = aliases(kernels, have, [isa for isa in ISAS if have != "baseline" and isa != have])
    _run([*compiler(), *map(str, objects), *links, "-lm", "-lpthread", "-o", str(program)])
    noted.write_text(" ".join(flags), encoding="utf-8")
    return program


def aliases(sources: Iterable[Path], have: str, wanted: Sequence[str]) -> Iterator[str]:
    """Linker options: whatever isa.h picks of ``wanted``, it gets the variant that is there."""
    apis = [m for p in sources for m in re.findall(r"LL_FN\((ll_\w+_api)\) *=", p.read_text(encoding="utf-8"))]
    yield from (f"-Wl,--defsym={api}__{isa}={api}__{have}" for api in apis for isa in wanted)


def _dump(text: str) -> tuple[str, int] | None:
    """Name and instructions of one dump of callgrind; None for the one at the program's end."""
    name = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.M)
    total = re.search(r"^(?:summary|totals): (\d+)", text, re.M)
    return (name.group(1).strip(), int(total.group(1))) if name and total else None


def count(program: Path, stem: str) -> dict[str, int]:
    """Instructions of each verb of a stem."""
    out = program.parent / "out"
    out.mkdir(exist_ok=True)
    for old in out.glob(f"{stem}.*"):
        old.unlink()
    options = ["-q", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={out / stem}.out"]
    _run(["valgrind", *options, str(program), stem])
    found = [_dump(p.read_text(encoding="utf-8", errors="replace")) for p in sorted(out.glob(f"{stem}.*"))]
    counts = dict(d for d in found if d)
    if not counts:
        raise CountError(f"bench/counts/{stem}.c counted nothing; is valgrind/callgrind.h there?")
    return counts


def count_all(stems: Sequence[str] | None = None, extra: Sequence[str] = (), into: Path = BUILD) -> dict[str, int]:
    """Everything, two stems at a time; callgrind's figures do not depend on how busy the machine is."""
    wanted = count_stems() if stems is None else list(stems)
    program = build(wanted, extra, into)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(lambda stem: count(program, stem), wanted))
    return {name: n for part in parts for name, n in part.items()}
