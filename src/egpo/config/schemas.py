"""JSON schemas of the configuration files, for editors: `python -m egpo.config.schemas`."""

from __future__ import annotations

import json
from pathlib import Path

from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.experiment import Experiment
from egpo.config.methods import Method


def write_schemas(folder: Path) -> None:
    """JSON schemas of the configuration files, for editors that complete and check YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in {
        "experiment": Experiment,
        "method": Method,
        "backbone": Backbone,
        "benchmark": Benchmark,
    }.items():
        schema = model.model_json_schema()
        if name != "experiment":  # a catalogue file maps names to entries
            schema = {
                "type": "object",
                "additionalProperties": {"$ref": f"#/$defs/{model.__name__}"},
                "$defs": {**schema.pop("$defs", {}), model.__name__: schema},
            }
        (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    write_schemas(ROOT / "config" / "schemas")
