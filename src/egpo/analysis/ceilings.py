"""What accuracies can be at most and by chance: verdicts on the benchmarks' own reference answers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egpo.common.errors import UserError
from egpo.config.experiment import Catalogue

OWN, SHUFFLED = 1, 2  # the trials of egpo.evaluation.references
COUNTS = ("evalscope", "verifier", "evalscope_shuffled", "verifier_shuffled", "excluded")


def _read(path: Path) -> pd.DataFrame:
    wanted = ["benchmark", "subset", "question", "trial", "correct", "verified", "status", "target"]
    try:
        return pd.read_parquet(path, columns=wanted)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not the verdicts on references ({error}). Delete it and run again.") from None


def ceilings(catalogue: Catalogue, references: Path) -> pd.DataFrame:
    """For each benchmark without a judge, how many references count as right.

    Args:
        references: references.parquet of egpo.evaluation.references.

    Returns:
        Columns benchmark, questions, and counts: `evalscope` and `verifier` (each question with its own reference),
        both with `_shuffled` (with another question's), and `excluded` (own references that evalscope cannot score).
    """
    rows = _read(references)
    found = []
    for name in catalogue.experiment.benchmarks:
        mine = rows[rows["benchmark"] == name]
        if mine.empty:
            continue
        own, other = (mine[mine["trial"] == trial] for trial in (OWN, SHUFFLED))
        counts = [int(part[column].eq(True).sum()) for part in (own, other) for column in ("correct", "verified")]
        excluded = int((own["status"] != "scored").sum())
        found.append({"benchmark": name, "questions": len(own), **dict(zip(COUNTS, (*counts, excluded), strict=True))})
    return pd.DataFrame(found, columns=["benchmark", "questions", *COUNTS])


def unaccepted(references: Path) -> pd.DataFrame:
    """References that evalscope or the verifier does not accept: benchmark, subset, question, status, both verdicts."""
    rows = _read(references)
    own = rows[rows["trial"] == OWN]
    return own[~(own["correct"].eq(True) & own["verified"].eq(True))]


def taken_for_another(references: Path) -> pd.DataFrame:
    """References of other questions that evalscope accepts and the verifier does not, which judges the same texts."""
    rows = _read(references)
    return rows[(rows["trial"] == SHUFFLED) & rows["correct"].eq(True) & ~rows["verified"].eq(True)]
