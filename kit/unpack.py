"""Join the kit's parts, install, and run the steps; `run.sh` calls it on the target. Standard library only.

    python3 unpack.py [--into FOLDER] [--out FOLDER] [--check] [arguments of kit.run, such as --only train]

With --check only the parts that have been copied are checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def sha256(path: Path) -> str:
    """Hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(manifest: dict[str, Any], folder: Path) -> tuple[list[str], list[str]]:
    """Names of the missing parts, and of those whose hash differs from the manifest's."""
    there = [part for part in manifest["parts"] if (folder / part["name"]).is_file()]
    missing = [part["name"] for part in manifest["parts"] if part not in there]
    return missing, [part["name"] for part in there if sha256(folder / part["name"]) != part["sha256"]]


def extract(parts: list[dict[str, Any]], folder: Path, into: Path) -> None:
    """Unpack a tar file that is split into parts."""
    tar = subprocess.Popen(["tar", "--extract", "--file=-", f"--directory={into}"], stdin=subprocess.PIPE)
    assert tar.stdin is not None
    with tar.stdin:
        for part in parts:
            tar.stdin.write((folder / part["name"]).read_bytes())
    if tar.wait():
        sys.exit(f"kit: tar could not unpack into {into}: is there space?")


def unpack(manifest: dict[str, Any], folder: Path, into: Path) -> None:
    """Unpack each archive that has changed since the last call."""
    into.mkdir(parents=True, exist_ok=True)
    for archive in ("source", "wheels"):
        parts = [part for part in manifest["parts"] if part["archive"] == archive]
        mark, hashes = into / f".{archive}", json.dumps([part["sha256"] for part in parts])
        if not mark.exists() or mark.read_text() != hashes:
            extract(parts, folder, into)
            mark.write_text(hashes)


def install(into: Path) -> Path:
    """Install the environment, if needed; returns its Python."""
    command = [sys.executable, into / "egpo" / "envs" / "install.py", "--list", into / "kit-packages.txt"]
    command += ["--offline", into / "wheelhouse", "--system-torch", "--venv", into / "venv"]
    if subprocess.run(command).returncode:
        sys.exit("kit: the installation failed; the reason is above")
    return into / "venv" / "bin" / "python"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path("/tmp/egpo-kit"))
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "kit-results")))
    parser.add_argument("--check", action="store_true")
    chosen, rest = parser.parse_known_args()
    into, out = chosen.into.absolute(), chosen.out.absolute()
    manifest = json.loads((HERE / "manifest.json").read_text())
    missing, damaged = check(manifest, HERE)
    for what, names in (("missing", missing), ("damaged", damaged)):
        if names:
            print(f"kit: {what}: {', '.join(names)}; copy them again")
    if chosen.check or missing or damaged:
        sys.exit(bool(damaged or (missing and not chosen.check)))
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if here != manifest["python"]:
        sys.exit(f"kit: made for Python {manifest['python']}, this is {here}: set PYTHON, or pack with this version")
    start = time.monotonic()
    unpack(manifest, HERE, into)
    unpacked = time.monotonic()
    python = install(into)
    seconds = {"unpack": unpacked - start, "install": time.monotonic() - unpacked}
    source = into / "egpo"
    sys.path.insert(0, str(source))
    from kit import results  # it was unpacked just now

    for step, taken in seconds.items():
        results.append(out, {"step": step, "kind": "end", "state": results.OK, "seconds": taken})
    os.chdir(source)
    arguments = ["--platform", manifest["platform"], "--work", str(into / "work"), "--out", str(out)]
    os.execv(python, [str(python), "-m", "kit.run", *arguments, *rest])


if __name__ == "__main__":
    main()
