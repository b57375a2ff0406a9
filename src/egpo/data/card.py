"""The dataset card of the pool, in the Hub's format, and its funnel, from flags, manifest and examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import DatasetCardData

from egpo.common.files import atomic_path, read_json, write_text
from egpo.data.funnel import ALL, funnel, left_by, markdown, table

SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
FILES = {
    "train.parquet, validation.parquet": "the pool, in verl's format",
    "flags.parquet": "every source row: its stratum, lengths, each reason and the first, its cluster and split",
    "funnel.csv, funnel.md": "rows in, dropped and out of each step, by subset, bucket and source, with examples",
    "manifest.json": "settings, versions and hashes of inputs and outputs, and what each step found",
}


def _front_matter(source: dict[str, Any], rows: int) -> str:
    files = [{"split": name, "path": f"{name}.parquet"} for name in ("train", "validation")]
    return DatasetCardData(
        language="en",
        license="apache-2.0" if source["kind"] in ("standin", "hub") else "unknown",
        task_categories=["text-generation"],
        tags=["math", "reinforcement-learning", *(["synthetic"] if source["kind"] == "standin" else [])],
        size_categories=next((name for bound, name in SIZES if rows < bound), "n>1M"),
        source_datasets=[part["repo"] for part in _from_hub(source)] or None,
        configs=[
            {"config_name": "default", "data_files": files, "default": True},
            {"config_name": "flags", "data_files": "flags.parquet"},
        ],
    ).to_yaml()


def _from_hub(source: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a source that are datasets of the Hub, which have a revision; folders have none."""
    return [part for part in (source, *source.get("sets", ())) if part.get("repo") and part.get("revision")]


def _origin(source: dict[str, Any]) -> str:
    if source["kind"] == "standin":
        return "Synthetic rows in OpenR1-Math's schema, made here: no real problem is among them."
    if source["kind"] == "hub":
        return f"`{source['repo']}` at revision `{source['revision']}`."
    if source["kind"] == "problems":
        named = [f"`{part['repo']}` at revision `{part['revision']}`" for part in _from_hub(source)]
        parts = source.get("sets") or [source]
        local = ["Local files of problems and answers"] if len(named) < len(parts) else []
        return f"{' and '.join([*local, *named])}, without generations: every row's bucket is `unknown`."
    return "A local folder in OpenR1-Math's schema."


def card(manifest: dict[str, Any], funnel: pd.DataFrame, note: str) -> str:
    """The text of the card.

    Args:
        manifest: of `egpo.data.build.build`.
        funnel: of `egpo.data.funnel.funnel`.
        note: last paragraph; none if empty.
    """
    settings, splits = manifest["settings"], manifest["splits"]
    rows = sum(split["rows"] for split in splits.values())
    mix = left_by(funnel, ["subset", "bucket"]).iloc[-1]
    strata = mix[mix > 0].reset_index().to_numpy().tolist()
    lines = [
        f"---\n{_front_matter(settings['source'], rows)}\n---",
        "# Training pool for reinforcement learning with verifiable rewards",
        _origin(settings["source"]),
        f"Built by the steps of the EGPO paper's appendix A.2, preset `{settings['preset']}`: row filters, "
        f"decontamination against {', '.join(manifest['found']['decontamination']) or 'nothing'}, near-duplicates in "
        f"mode `{settings['deduplication']['mode']}`, sampling by subset, bucket and source. Of "
        f"{manifest['source_rows']} rows {rows} are left: "
        + ", ".join(f"{name} {split['rows']} (content `{split['content']}`)" for name, split in splits.items())
        + ".",
        "\n".join(table(["subset", "bucket", "rows"], strata, left=2)),
        "\n".join(f"- `{name}`: {text}" for name, text in FILES.items()),
        "A row's bucket comes from `correctness_math_verify` alone: `mixed` if some generation is right and some is "
        "wrong, `correct` if all are right.",
        *([note] if note else []),
    ]
    return "\n\n".join(lines) + "\n"


def write_card(flags: Path, manifest: Path, examples: Path, note: str, out: Path) -> None:
    """Write README.md, funnel.csv and funnel.md into `out`.

    Args:
        flags, manifest, examples: files of `egpo.data.build.build`.
        note: put below both texts, if it is not empty.
    """
    made = read_json(manifest)
    rows = pd.read_parquet(flags, columns=["subset", "bucket", "source", "reason"])
    counts = funnel(rows, list(made["dropped"]))
    left = counts[counts["subset"] == ALL]["out"].iloc[-1]
    assert left == sum(part["rows"] for part in made["splits"].values()), "the funnel and the files disagree"
    with atomic_path(out / "funnel.csv") as temporary:
        counts.to_csv(temporary, index=False)
    write_text(out / "funnel.md", markdown(counts, read_json(examples), note))
    write_text(out / "README.md", card(made, counts, note))
