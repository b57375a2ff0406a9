"""Snakemake's lint of this workflow, without the findings that do not apply to it.

Prints every other finding and exits with 1 if there is any.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Together they have every rule: synthetic data, ablations and entropies; data and models of the Hub.
CONFIGURATIONS = (("config/demo.yaml", "config/demo-full.yaml"), ("config/paper.yaml",))

# Patterns of findings that do not apply, each with its reason.
NOT_APPLICABLE = {
    r".*: Specify a conda environment or container for each rule\.": "all jobs run in the environment of envs/, which "
    "the driver uses as well: it imports the same library",
    r"snakefile \S*: Mixed rules and functions in same snakefile\.": "a function is next to the rules that use it; "
    "rules/common.smk has the functions that several files use",
    r"rule data_pool \(.*: Param tokenizer is a prefix of input or output file but hardcoded": "the folder may be a "
    "model of the user; jobs need a shared file system anyway, as results/ is on it",
}


def findings(text: str) -> Iterator[str]:
    """Each finding in the output of `snakemake --lint`, as "place: title"."""
    place = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"Lints for (.*):", line):
            place = match[1].replace(f"{ROOT}/", "")
        elif match := re.fullmatch(r"    \* (.*):", line):
            yield f"{place}: {match[1]}"


def applicable(text: str) -> list[str]:
    """The findings that are to be fixed."""
    return [line for line in findings(text) if not any(re.fullmatch(known, line) for known in NOT_APPLICABLE)]


def main() -> None:
    snakemake = Path(sys.executable).parent / "snakemake"
    found: dict[str, None] = {}
    for files in CONFIGURATIONS:
        run = subprocess.run(
            [snakemake, "--lint", "--configfile", *files], cwd=ROOT, capture_output=True, text=True, check=False
        )
        text = run.stdout + run.stderr
        if run.returncode and not any(findings(text)):  # it exits with 1 for findings too
            sys.exit(text)
        found |= dict.fromkeys(applicable(text))
    if found:
        sys.exit("\n".join(["snakemake --lint:", *found]))


if __name__ == "__main__":
    main()
