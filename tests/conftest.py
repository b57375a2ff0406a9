"""What the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import small_experiment
import yaml
from small_runs import make_inputs

from egpo.common.paths import ROOT

# Examples have no time limit of their own: a busy machine is not a defect.
hypothesis.settings.register_profile("egpo", deadline=None)
hypothesis.settings.load_profile("egpo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole experiment first: it takes longest, and the other files are tested beside it."""
    items.sort(key=lambda item: item.path.name != "test_experiment.py")


def pytest_runtest_teardown() -> None:
    small_experiment.end_started()


def _shared(name: str) -> Path:
    """A folder beside the repository, with texts that are not ours to publish; without it the test is skipped."""
    folder = ROOT.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"there is no {os.path.relpath(folder, ROOT)} with real text")
    return folder


@pytest.fixture(scope="session")
def real() -> Path:
    return _shared("real")


@pytest.fixture(scope="session")
def cases() -> Path:
    return _shared("cases")


@pytest.fixture
def demo() -> dict:
    """The values of config/demo.yaml, for a test to change."""
    return yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """Folder with a random model and a few problems, for `small_runs.small`."""
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory) -> Path:
    """A tiny tokenizer with a chat template."""
    from egpo.synthetic.tokenizer import make_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(thinks=False, seed=1, context=512).save_pretrained(folder)
    return folder
