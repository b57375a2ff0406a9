"""A plan that was written down before an experiment was run: claims.yaml, made by `egpo freeze`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from egpo.common.hashing import stable_hash
from egpo.config.section import Section


class Planned(Section):
    """Two methods that are to be compared on a backbone."""

    backbone: str
    first: str
    second: str
    benchmarks: tuple[str, ...]
    family: str = Field("", description="Of a study: the comparisons that are corrected together.")
    expected: Literal["above", "below", "different"] = Field(
        "above", description="What would count for the claim: the first above the second, below it, or either."
    )


class Frozen(Section):
    """What will be tested, how, and on what."""

    frozen: str = Field(description="The date.")
    hash: str = Field(description="Of everything else; an edit afterwards is noticed.")
    test: str
    level: float
    comparisons: tuple[Planned, ...]
    training_seeds: tuple[int, ...]
    trials: int
    settings: dict[str, Any] = Field(description="All that results depend on, as the experiment had it.")
    code_of_weights: dict[str, str] | None = Field(
        None, description="Hash of the file of each custom function of weights, by method; older plans have none."
    )

    def content_hash(self) -> str:
        """The hash of this content."""
        values = self.model_dump(mode="json", exclude={"hash"})
        # Plans that are older than these keys have no other hash.
        for one in values["comparisons"]:
            if not one["family"]:
                del one["family"]
        if values["code_of_weights"] is None:
            del values["code_of_weights"]
        return stable_hash(values)
