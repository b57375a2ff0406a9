"""What the tests share."""

from __future__ import annotations

import pytest
import yaml

from egpo.config import ROOT


@pytest.fixture
def demo() -> dict:
    """The values of config/demo.yaml, for a test to change."""
    return yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
