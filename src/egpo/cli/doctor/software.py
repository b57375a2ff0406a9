"""The doctor on software: packages, their bytecode, and a C compiler."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from sysconfig import get_paths

from egpo.cli.doctor.finding import Finding, answer, failed, ok, warning
from egpo.common.paths import ROOT
from egpo.config.experiment import Tracker
from egpo.training.trackers import remedy

SECONDS_TO_IMPORT = 120  # a tracker, the first time and on a busy machine


def packages(cuda: bool) -> Finding:
    """Python and packages against the list that envs/install.py makes an environment from."""
    install = runpy.run_path(str(ROOT / "envs" / "install.py"))
    file = f"envs/{'gpu' if cuda else 'cpu'}.txt"
    have = install["installed"](Path(sys.executable)) or {}
    linked = install["read_linked"](Path(sys.prefix))
    rows = install["differences"](have, install["expected"](ROOT / file, linked))
    return assess_packages(sys.version_info[:2], install["PYTHONS"], rows, file)


def assess_packages(version: tuple[int, int], wanted: Sequence[tuple[int, int]], rows: list[str], file: str) -> Finding:
    """rows: those of install.differences. What is installed beside the list (flash-attn) does no harm."""
    make = "Run `make env`"
    if file == "envs/gpu.txt":
        make = f"Run `python3.11 envs/install.py --list {file} --venv .venv-gpu` and use .venv-gpu/bin/snakemake"
    if version not in wanted:
        known = " or ".join(f"{major}.{minor}" for major, minor in wanted)
        return failed("packages", f"Python {version[0]}.{version[1]}, not {known}", make)
    wrong = [row for row in rows if not row.endswith("is not in the list")]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return failed("packages", f"not as pinned in {file}: {'; '.join(wrong[:3])}{more}", make)
    return ok("packages", f"Python {version[0]}.{version[1]}, all as pinned in {file}")


def compiler(cuda: bool) -> Finding:
    """A C compiler that works: torch and, on GPUs, triton call it while they run; triton wants Python's headers too."""
    names = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "cc", "clang"]
    found = next((place for name in names if (place := shutil.which(name))), None)
    if found is None:
        return failed("C compiler", f"no {' or '.join(names)}", "Install one (Debian: apt-get install gcc), or set CC")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "try.c"
        source.write_text(("#include <Python.h>\n" if cuda else "") + "int main(void) { return 0; }\n")
        well, said = answer(found, "-c", f"-I{get_paths()['include']}", str(source), "-o", f"{source}.o")
    if not well:
        remedy = "Install the C library's and Python's headers (Debian: libc6-dev, python3.11-dev)"
        return failed("C compiler", f"{found} cannot compile: {said}", remedy)
    return ok("C compiler", found)


def bytecode() -> Finding:
    """Whether Python keeps what it compiles of the packages; else each of some hundred processes compiles it again."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return failed("bytecode", "there is no torch", "Run `make env`")
    cached = Path(cache_from_source(spec.origin))
    if cached.exists():
        return ok("bytecode", "the packages are compiled")
    site = Path(spec.origin).parents[1]
    once = f"Compile once: {sys.executable} -m compileall -q -j 0 {site}"
    if sys.dont_write_bytecode:
        return warning("bytecode", "PYTHONDONTWRITEBYTECODE is set: each process compiles its packages again", once)
    if not os.access(site, os.W_OK):
        return warning("bytecode", f"{site} cannot be written: each process compiles its packages again", once)
    return ok("bytecode", "the first start compiles the packages")


def trackers(names: Iterable[Tracker]) -> list[Finding]:
    """Whether the packages of the trackers are there, and can be imported."""
    found = []
    for name in names:
        what = f"tracker {name}"
        if (way := remedy(name)) is not None:
            found.append(failed(what, "its package is not installed", way))
            continue
        well, said = answer(
            sys.executable, "-c", f"import {name}; print({name}.__version__)", seconds=SECONDS_TO_IMPORT
        )
        remedy_of = f"See the error of `python -c 'import {name}'`, or take it out of `trackers`"
        found.append(ok(what, said.strip().splitlines()[-1]) if well else failed(what, said, remedy_of))
    return found
