"""JSON schemas of the configuration files, for editors: `python -m egpo.config.schemas`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.experiment import Experiment
from egpo.config.methods import Method


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of an experiment's file, and of each catalogue, by name."""
    return {"experiment": Experiment.model_json_schema()} | {
        model.__name__.lower(): _catalogue(model) for model in (Method, Backbone, Benchmark)
    }


def _catalogue(model: type[BaseModel]) -> dict[str, Any]:
    """A file that maps names to entries."""
    schema = model.model_json_schema()
    return {
        "type": "object",
        "additionalProperties": {"$ref": f"#/$defs/{model.__name__}"},
        "$defs": {**schema.pop("$defs", {}), model.__name__: schema},
    }


def write_schemas(folder: Path) -> None:
    """Write each schema to `folder`/<name>.schema.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    write_schemas(ROOT / "config" / "schemas")
