"""The installer of the environment: what it reads and what it notices."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from egpo.common.paths import ROOT

spec = importlib.util.spec_from_file_location("install", ROOT / "envs" / "install.py")
install = importlib.util.module_from_spec(spec)
spec.loader.exec_module(install)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_lists_are_fully_pinned_and_hold_what_was_asked_for(name):
    pins = install.read_pins(ROOT / "envs" / f"{name}.txt")
    for line in (ROOT / "envs" / f"{name}.in").read_text().splitlines():
        wanted = line.split("#")[0].split("==")[0].split("[")[0].strip()
        assert not wanted or install.normalise(wanted) in pins
    text = (ROOT / "envs" / f"{name}.txt").read_text()
    assert "://" not in text, "no download address belongs into a list"


def test_lists_hold_the_versions_that_the_project_builds_on():
    cpu, gpu = (install.read_pins(ROOT / "envs" / f"{name}.txt") for name in ("cpu", "gpu"))
    assert cpu["torch"] == "2.13.0"
    assert cpu["verl"] == gpu["verl"] == "0.9.1"
    assert (gpu["torch"], gpu["vllm"]) == ("2.11.0", "0.24.0")
    assert cpu["antlr4-python3-runtime"] == gpu["antlr4-python3-runtime"] == "4.9.3"
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(cpu)


def test_an_unpinned_line_is_an_error(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("numpy==2.0\npandas>=2\n")
    with pytest.raises(SystemExit, match=r"list\.txt:2: expected name==version"):
        install.read_pins(file)


def test_differences_name_missing_changed_and_foreign_packages():
    pins = {"torch": "2.13.0", "verl": "0.9.1", "numpy": "2.3.5"}
    have = {"torch": "2.13.0+cpu", "numpy": "2.0.0", "black-box": "1.0", "egpo": "0.1.0"}
    assert install.differences(have, pins) == [
        "verl is missing",
        "numpy is 2.0.0, not 2.3.5",
        "black-box is not in the list",
    ]


def test_this_environment_is_noticed_as_whole():
    have = install.installed(Path(sys.executable))
    assert install.differences(have, install.read_pins(ROOT / "envs" / "cpu.txt")) == []


def test_an_environment_whose_python_does_not_run_is_noticed(tmp_path):
    assert install.installed(tmp_path / "bin" / "python") is None


def pip_report(requires: list[str]):
    """A stand-in for pip's answer (unit test of our reading of it)."""

    def run(command, **_):
        report = {"install": [{"metadata": {"requires_dist": requires}}]}
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(report), stderr="")

    return run


def test_a_cuda_torch_is_refused_with_the_variable_to_set(monkeypatch):
    monkeypatch.setattr(install.subprocess, "run", pip_report(["filelock", "nvidia-cudnn-cu13==9.1; platform"]))
    with pytest.raises(SystemExit, match=r"CUDA build of torch 2\.13\.0[\s\S]*PIP_EXTRA_INDEX_URL"):
        install.require_cpu_torch(Path(sys.executable), "2.13.0")
    monkeypatch.setattr(install.subprocess, "run", pip_report(["filelock", "sympy"]))
    install.require_cpu_torch(Path(sys.executable), "2.13.0")


# --- wheelhouse and offline, with tiny fake packages and real pip ----------------------------------


def fake_wheel(folder: Path, name: str, version: str, *requires: str, files: dict[str, str] | None = None) -> Path:
    """A wheel of a package that holds nothing but the given files, else one module that knows its version."""
    module = name.replace("-", "_")
    files = files or {f"{module}.py": f"version = {version!r}\n"}
    about = f"{module}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        **files,
        f"{about}/METADATA": head + "".join(f"Requires-Dist: {need}\n" for need in requires),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: fake\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"])
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
    return path


def wheel_of_installed(folder: Path, name: str) -> None:
    """The wheel that an installed package came from, near enough: pip, setuptools and wheel are real in these tests."""
    found = metadata.distribution(name)
    with zipfile.ZipFile(folder / f"{name}-{found.version}-py3-none-any.whl", "w") as wheel:
        for file in found.files:
            if ".." not in file.parts and file.suffix != ".pyc" and file.name not in ("INSTALLER", "REQUESTED"):
                wheel.write(found.locate_file(file), str(file))


def fake_source(folder: Path, name: str, version: str) -> None:
    """A package that exists as a source only."""
    texts = {
        "setup.py": f"from setuptools import setup\nsetup(name={name!r}, version={version!r}, py_modules=[{name!r}])\n",
        f"{name}.py": "",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for file, text in texts.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


FAKE_LIST = """\
alpha==1.0
cuda-toolkit==13.0
    # via torch
nvidia-blas==13.1
    # via cuda-toolkit
nvidia-nvcc==13.2
    # via alpha
nvidia-nvtx==13.0
    # via cuda-toolkit
source==1.5
    # via
    #   -r fake.in
    #   alpha
torch==2.11.0
    # via alpha
triton==3.6
    # via
    #   alpha
    #   torch
"""
TOOLS = ("pip", "setuptools", "wheel")


class Fakes:
    """A checkout of its own with the real install.py, a fake list and project, and a folder that plays the index."""

    def __init__(self, folder: Path):
        self.folder, self.index, self.project = folder, folder / "index", folder / "project"
        self.script, self.list = self.project / "envs" / "install.py", self.project / "envs" / "fake.txt"
        for made in (self.index, self.script.parent, self.project / "src" / "egpo"):
            made.mkdir(parents=True)
        shutil.copy(ROOT / "envs" / "install.py", self.script)
        self.list.write_text(FAKE_LIST + "".join(f"{name}=={metadata.version(name)}\n" for name in TOOLS))
        (self.project / "src" / "egpo" / "__init__.py").touch()
        (self.project / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            '[project]\nname = "egpo"\nversion = "0.0"\n[project.scripts]\negpo = "egpo:main"\n'
            '[project.entry-points."verl.plugins"]\negpo = "egpo"\n[tool.setuptools.packages.find]\nwhere = ["src"]\n'
        )
        for name in TOOLS:
            wheel_of_installed(self.index, name)
        fake_source(self.index, "source", "1.5")
        fake_wheel(self.index, "alpha", "1.0")
        fake_wheel(self.index, "nvidia-blas", "13.1", files={"nvidia/cu/lib/libblas": "of the list"})
        fake_wheel(self.index, "nvidia-nvcc", "13.2", files={"nvidia/cu/bin/nvcc": "of the list"})
        for pin in ("cuda-toolkit==13.0", "nvidia-nvtx==13.0", "torch==2.11.0", "triton==3.6"):
            fake_wheel(self.index, *pin.split("=="))

    def run(self, *arguments: object, python: Path = Path(sys.executable), index: bool = False):
        """install.py as a user calls it. Pip's settings lead to the fake index, or else to a dead address."""
        outer = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        settings = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "http_proxy": "http://127.0.0.1:9"}
        if index:
            settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index)}
        return subprocess.run(
            [python, self.script, "--list", self.list, *map(str, arguments)],
            env={**outer, "PIP_CONFIG_FILE": os.devnull, **settings},
            capture_output=True,
            text=True,
        )

    def image(self, name: str) -> tuple[Path, Path]:
        """A Python that stands for the one of an image, and its site-packages."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder / name], check=True)
        site = next((self.folder / name / "lib").glob("python*/site-packages"))
        return self.folder / name / "bin" / "python", site


def well(run: subprocess.CompletedProcess) -> str:
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def put_in(site: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    return Fakes(tmp_path_factory.mktemp("fakes"))


@pytest.fixture(scope="module")
def made(fakes):
    """A wheelhouse that the script made; tests that change it take a copy."""
    folder = fakes.folder / "wheelhouse"
    well(fakes.run("--wheelhouse", folder, index=True))
    return folder


@pytest.fixture
def wheelhouse(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "wheelhouse"))


def test_a_wheelhouse_holds_the_list_as_wheels_and_sha256sum_agrees(fakes, made):
    names = sorted(path.name for path in made.iterdir())
    pins = install.read_pins(fakes.list)
    assert len(names) == len(pins) + 2 and "source-1.5-py3-none-any.whl" in names, "built into a wheel"
    check = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, capture_output=True, text=True)
    assert check.returncode == 0 and check.stdout.count(": OK") == len(pins)
    lines = (made / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [name for name in names if name.endswith(".whl")]
    about = json.loads((made / "wheelhouse.json").read_text())
    assert (about["list"], about["python"]) == ("fake.txt", ".".join(map(str, sys.version_info[:2])))


def test_a_wheelhouse_is_repaired_and_leaves_out_what_the_system_has(fakes, wheelhouse, monkeypatch):
    (wheelhouse / "alpha-1.0-py3-none-any.whl").write_text("damaged")
    (wheelhouse / "old-1.0-py3-none-any.whl").touch()
    kept = wheelhouse / "source-1.5-py3-none-any.whl"
    before = kept.stat().st_mtime_ns
    fetched = []

    def fake_fetch(folder, missing, pins, sums, venv):
        fetched.extend(missing)
        for name, version in missing.items():
            wheel = fake_wheel(folder, name, version)
            sums[wheel.name] = install.sha256(wheel)

    monkeypatch.setattr(install, "fetch", fake_fetch)
    options = ["--list", str(fakes.list), "--wheelhouse", str(wheelhouse), "--system-torch"]
    monkeypatch.setattr(sys, "argv", ["install.py", *options])
    install.main()
    assert fetched == ["alpha"]
    held = {path.name.split("-")[0] for path in wheelhouse.glob("*.whl")}
    assert held == {"alpha", "nvidia_nvcc", "source", *TOOLS}
    assert kept.stat().st_mtime_ns == before and install.read_sums(wheelhouse).keys() == {
        path.name for path in wheelhouse.glob("*.whl")
    }
    install.main()
    assert fetched == ["alpha"], "a second run fetches nothing"


def test_a_folder_with_other_files_is_no_wheelhouse_and_left_alone(fakes, tmp_path):
    (tmp_path / "thesis.txt").touch()
    run = fakes.run("--wheelhouse", tmp_path)
    assert run.returncode != 0 and "is not a wheelhouse" in run.stderr and (tmp_path / "thesis.txt").exists()


def test_an_environment_is_made_offline_and_a_second_run_does_nothing(fakes, made, wheelhouse, tmp_path):
    venv = tmp_path / "venv"
    well(fakes.run("--offline", made, "--venv", venv))
    python, pins = venv / "bin" / "python", install.read_pins(fakes.list)
    assert install.differences(install.installed(python), pins) == []
    log = (venv / "install.log").read_text()
    assert well(fakes.run("--offline", made, "--venv", venv)) == "" and (venv / "install.log").read_text() == log

    checked = install.open_wheelhouse(wheelhouse, fakes.list, pins)
    fake_wheel(wheelhouse, "alpha", "1.0", files={"alpha.py": "changed = True\n"})
    with pytest.raises(SystemExit, match=r"DO NOT MATCH THE HASHES"):
        install.install(python, {"alpha": "1.0"}, "--force-reinstall", wheelhouse=checked)
    assert "changed" not in next(venv.glob("lib/python*/site-packages/alpha.py")).read_text(), "pip checks once more"


@pytest.mark.slow
def test_a_project_installed_without_its_command_is_repaired(fakes, made, tmp_path):
    venv = tmp_path / "venv"
    options = ("--offline", made, "--venv", venv)
    well(fakes.run(*options))
    command, (points,) = venv / "bin" / "egpo", venv.glob("lib/python*/site-packages/egpo-*.dist-info/entry_points.txt")
    before = points.read_text()
    assert command.is_file() and "verl.plugins" in before

    command.unlink()
    assert "the command egpo is missing" in well(fakes.run(*options)) and command.is_file()
    (points,) = venv.glob("lib/python*/site-packages/egpo-*.dist-info/entry_points.txt")
    points.write_text("[console_scripts]\nold = egpo:main\n")
    assert "entry points of egpo are not those of pyproject.toml" in well(fakes.run(*options))
    (points,) = venv.glob("lib/python*/site-packages/egpo-*.dist-info/entry_points.txt")
    assert points.read_text() == before
    assert well(fakes.run(*options)) == ""


def spoil(wheelhouse: Path, how: str) -> None:
    wheel = wheelhouse / "alpha-1.0-py3-none-any.whl"
    if how == "damaged":
        data = bytearray(wheel.read_bytes())
        data[40] ^= 1
        wheel.write_bytes(data)
    elif how == "missing":
        wheel.unlink()
    elif how == "surplus":
        (wheelhouse / "beta-1.0-py3-none-any.whl").touch()
    elif how == "other Python":
        about = wheelhouse / "wheelhouse.json"
        about.write_text(json.dumps({**json.loads(about.read_text()), "python": "3.8"}))
    elif how == "lacking":
        sums = wheelhouse / "SHA256SUMS"
        sums.write_text("".join(line for line in sums.read_text().splitlines(True) if "alpha" not in line))
        wheel.unlink()
    elif how == "unfinished":
        (wheelhouse / "SHA256SUMS").unlink()
    elif how == "none":
        shutil.rmtree(wheelhouse)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("damaged", r"alpha-1\.0-py3-none-any\.whl is damaged .*: copy it again"),
        ("missing", r"alpha-1\.0-py3-none-any\.whl is missing: copy it again"),
        ("surplus", r"beta-1\.0-py3-none-any\.whl is not in SHA256SUMS: delete it"),
        ("other Python", r"is for Python 3\.8 on .*; this is Python 3\.1.*: run this script with that Python"),
        (
            "lacking",
            r"lacks alpha 1\.0 of fake\.txt \(.*without --system-torch\): with a network, run --wheelhouse again",
        ),
        ("unfinished", r"has no SHA256SUMS: --wheelhouse was interrupted; run it again"),
        ("none", r"is not a wheelhouse .*: make one with --wheelhouse"),
    ],
)
def test_a_bad_wheelhouse_is_named_before_anything_is_installed(fakes, wheelhouse, tmp_path, how, words):
    spoil(wheelhouse, how)
    run = fakes.run("--offline", wheelhouse, "--venv", tmp_path / "venv")
    assert run.returncode == 1 and re.search(words, run.stderr), run.stderr
    assert not (tmp_path / "venv").exists()


# --- the system's torch ----------------------------------------------------------------------------


def test_torch_of_the_gpu_list_is_told_by_the_lists_own_comments():
    found = install.torch_of_list(ROOT / "envs" / "gpu.txt")
    assert {"torch", "triton", "cuda-toolkit", "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= found
    assert not {"nvidia-cuda-nvcc", "nvidia-cutlass-dsl", "nvidia-ml-py", "cuda-python"} & found
    assert not {"torchvision", "torchdata", "filelock", "tokenspeed-triton"} & found
    assert install.torch_of_list(ROOT / "envs" / "cpu.txt") == {"torch"}


def fill_image(fakes: Fakes, site: Path, folder: Path) -> None:
    """Fakes of torch and CUDA; and of what an image holds besides, which must not be seen."""
    folder.mkdir()
    for wheel in (
        fake_wheel(
            folder,
            "torch",
            "2.12.0+cu130",
            "filelock",
            "cuda-toolkit[Blas]==13.0; platform_system == 'Linux'",
            "triton==3.6",
            files={"torch/__init__.py": "import torch.part\n", "torch/part.py": "", "../../../bin/torchrun": ""},
        ),
        fake_wheel(folder, "triton", "3.6"),
        fake_wheel(
            folder, "cuda-toolkit", "13.0", "nvidia-blas; extra == 'blas'", "nvidia-nvcc==13.0; extra == 'nvcc'"
        ),
        fake_wheel(folder, "nvidia-blas", "13.1", files={"nvidia/cu/lib/libblas": "of the image"}),
        fake_wheel(folder, "nvidia-nvcc", "13.0", files={"nvidia/cu/bin/nvcc": "of the image"}),
        fake_wheel(folder, "alpha", "0.9"),
        fake_wheel(folder, "leak", "1.0"),
    ):
        put_in(site, wheel)
    (site.parents[2] / "bin" / "torchrun").touch()


def test_the_systems_torch_is_linked_and_nothing_else_of_the_system(fakes, made, tmp_path):
    python, image = fakes.image("image")
    fill_image(fakes, image, tmp_path / "wheels")
    venv = tmp_path / "venv"
    options = ("--offline", made, "--venv", venv, "--system-torch")
    said = well(fakes.run(*options, python=python))
    assert "torch is 2.12.0+cu130 here, the list has 2.11.0" in said
    assert "nvidia-nvtx is not installed here, the list has 13.0 for torch" in said
    assert "triton is" not in said and "cuda-toolkit is" not in said, "the same version is not worth a line"

    have = install.installed(venv / "bin" / "python")
    want = {name: v for name, v in install.read_pins(fakes.list).items() if name != "nvidia-nvtx"}
    assert have == {**want, "torch": "2.12.0+cu130", "egpo": "0.0"}, "alpha and nvcc are the list's; leak isn't there"
    assert install.differences(have, install.expected(fakes.list, install.read_linked(venv))) == []
    site = next(venv.glob("lib/python*/site-packages"))
    links = {path.relative_to(site).parts[0] for path in site.rglob("*") if path.is_symlink()}
    modules = {"torch", "triton.py", "cuda_toolkit.py", "nvidia"}
    assert {name for name in links if not name.endswith(".dist-info")} == modules
    assert (site / "nvidia/cu/lib/libblas").read_text() == "of the image"
    assert (site / "nvidia/cu/bin/nvcc").read_text() == "of the list", "side by side, as pip would have put them"
    assert not list(venv.rglob("torchrun"))

    assert well(fakes.run(*options, python=python)) == "", "a second run does nothing"

    shutil.rmtree(image / "torch-2.12.0+cu130.dist-info")
    put_in(image, fake_wheel(tmp_path, "torch", "2.12.1", "triton", files={"torch/__init__.py": ""}))
    run = fakes.run("--offline", tmp_path / "no-wheelhouse", *options[2:], python=python)
    assert "making it anew" in run.stdout and "torch is 2.12.1 here" in run.stdout, "another torch: a new environment"
    assert "is not a wheelhouse" in run.stderr
    install.make_venv(venv, "--without-pip")
    assert (image / "torch" / "part.py").exists(), "making it anew removes links, not what they lead to"


def test_a_python_without_torch_is_an_error_with_its_remedy(fakes, made, tmp_path):
    python, _ = fakes.image("bare")
    run = fakes.run("--offline", made, "--venv", tmp_path / "venv", "--system-torch", python=python)
    assert run.returncode == 1 and "has no torch. Run this script with the Python that brings it" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_other_pythons_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["install.py"])
    monkeypatch.setattr(install, "PYTHONS", ((3, 8), (3, 9)))
    with pytest.raises(SystemExit, match=r"Python 3\.8 or 3\.9 is needed, this is 3\.1"):
        install.main()
