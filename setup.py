"""Finds every kernel by glob and builds it once per instruction set.

``kernels/_X.pyx`` binds ``kernels/X.c``. The first lines of the .pyx say where the module goes and which further C
files it needs::

    # serves: lifeline_core.dsp
    # with: ring.c

C files are compiled once per entry of ``variants()`` with ``-DLL_ISA=<name>``; ``kernels/isa.h`` picks one at run time.
``KERNELS="level stats"`` in the environment builds only these stems.
"""

import os
import platform
import re
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

ROOT = Path(__file__).parent
KERNELS = ROOT / "kernels"
C_FLAGS = [
    "-O3",
    "-std=c11",
    "-D_GNU_SOURCE",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
]


def variants() -> list[tuple[str, list[str]]]:
    """Name and compiler flags of every instruction set a kernel is built for."""
    if platform.machine() in ("x86_64", "AMD64"):
        return [
            ("baseline", ["-march=x86-64-v2"]),
            ("avx2", ["-march=x86-64-v3"]),
            ("avx512", ["-march=x86-64-v4", "-mprefer-vector-width=256"]),
        ]
    return [("baseline", [])]


def directive(text: str, key: str) -> str:
    found = re.search(rf"^# {key}: *(.+)$", text, re.M)
    return found.group(1).strip() if found else ""


def kernels() -> list[Extension]:
    wanted = os.environ.get("KERNELS", "").split()
    found = []
    for pyx in sorted(KERNELS.glob("_*.pyx")):
        stem = pyx.stem[1:]
        if wanted and stem not in wanted:
            continue
        text = pyx.read_text(encoding="utf-8")
        ext = Extension(
            f"{directive(text, 'serves') or 'lifeline_core'}.{pyx.stem}",
            [str(pyx.relative_to(ROOT))],
            include_dirs=["kernels"],
            extra_compile_args=["-O2", "-D_GNU_SOURCE"],
        )
        names = [f"{stem}.c", *directive(text, "with").split()]
        ext.c_kernels = [f"kernels/{name}" for name in names if (KERNELS / name).exists()]
        ext.depends = [
            *ext.c_kernels,
            *(str(h.relative_to(ROOT)) for h in KERNELS.glob("*.h")),
            *(str(p.relative_to(ROOT)) for p in KERNELS.glob("*.pxd")),
        ]
        found.append(ext)
    return found


class BuildKernels(build_ext):
    """Compiles the C half of each kernel once per instruction set and links all of them into its one module."""

    def build_extension(self, ext: Extension) -> None:
        target = self.get_ext_fullpath(ext.name)
        if not self.force and not newer_group([*ext.sources, *ext.depends], target, "newer"):
            return
        for name, flags in variants():
            ext.extra_objects += self.compiler.compile(
                list(ext.c_kernels),
                output_dir=str(Path(self.build_temp) / ext.name / name),
                macros=[("LL_ISA", name)],
                include_dirs=["kernels"],
                extra_postargs=[*C_FLAGS, *flags, *os.environ.get("LL_CFLAGS", "").split()],
            )
        super().build_extension(ext)


def extensions() -> list[Extension]:
    plain = kernels()
    kept = {e.name: e for e in plain}
    built = cythonize(
        plain,
        build_dir="build/cython",
        include_path=["kernels"],
        quiet=True,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": False,
        },
    )
    for e in built:
        e.c_kernels = kept[e.name].c_kernels
    return built


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels})
