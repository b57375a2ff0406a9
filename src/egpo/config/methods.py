"""Training methods: entries of config/methods.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from egpo.common.paths import ROOT
from egpo.config.section import Count, Label, Section

CONTROL = "Control: "  # what the label of a control begins with


class Calibration(Section):
    """Entropy weights and base advantage of a method: Eq. (5) to (13) and Table 2 of the paper; see docs/methods.md."""

    weight: str = Field(
        "none",
        pattern=r"^(none|entropy|[^:]+\.py:[A-Za-z_]\w*)$",
        description="'none' is w = 1 for every response; 'entropy' is Eq. (7); file.py:function is a custom function "
        "in its place, with the path relative to the repository (docs/own-experiments.md).",
    )
    entropy: Literal["sampled", "distribution"] = Field(
        "sampled",
        description="What is averaged over the tokens: 'sampled' is -log pi of the sampled token, Eq. (5); "
        "'distribution' is the Shannon entropy of the whole next-token distribution (EDGE-GRPO).",
    )
    scope: Literal["response", "thinking", "answer"] = Field(
        "response",
        description="Over which tokens: all, those up to and including the first </think>, or those after it. A "
        "response without such tokens has no entropy, and w = 1 before the clamp.",
    )
    lam_min: float = Field(0.8, gt=0, le=1, description="Lower bound of the clamp, Eq. (8).")
    lam_max: float = Field(2.0, ge=1, description="Upper bound of the clamp, Eq. (8).")
    eps_h: float = Field(1e-5, gt=0, description="epsilon_H of Eq. (7), in nats per token.")
    correct: Literal["floor", "clip", "raw"] = Field(
        "floor",
        description="For r = +1: 'floor' is max(1, clip(w)), Eq. (8); 'clip' is clip(w); 'raw' is w.",
    )
    incorrect: Literal["cap", "clip", "raw"] = Field(
        "cap",
        description="For r = -1: 'cap' is min(1, clip(w)), Eq. (8); 'clip' is clip(w); 'raw' is w.",
    )
    lock: Literal["none", "entirely_incorrect", "incorrect"] = Field(
        "none",
        description="Which weights are set to 1 at the end (C4): none, those of entirely-incorrect groups, or those of "
        "all incorrect responses.",
    )
    renorm: Literal["none", "before", "before_clipped", "after"] = Field(
        "none",
        description="Renormalisation, Eq. (9): none; before the clamp, of the raw weights (C6) or of the clipped ones; "
        "after the clamp (C5).",
    )
    control: Literal["none", "random_reward", "permuted_entropy", "constant_weight", "nsr_only"] = Field(
        "none",
        description="What a control changes: each outcome is a coin with the group's rate; entropies are permuted in "
        "each group; every weight is the mean of the step's; groups of both outcomes have no advantage.",
    )
    nsr: bool = Field(False, description="Base advantage -1 on entirely-incorrect groups, Eq. (13).")

    @property
    def custom(self) -> tuple[Path, str] | None:
        """File and name of the custom function of weights, if there is one."""
        file, _, function = self.weight.rpartition(":")
        return (ROOT / file, function) if file else None


class OverlongBuffer(Section):
    """DAPO's soft punishment of long responses. The reward is then no longer the binary one of Eq. (1)."""

    len: Count = Field(description="Tokens before the limit in which the punishment rises linearly.")
    penalty_factor: float = Field(
        1.0, gt=0, le=1, description="What is taken from the reward of a response that reaches the limit."
    )


class Method(Section):
    """One training method: what differs between GRPO, DAPO, EDGE-GRPO, EGPO and the ablations."""

    label: Label = Field(description="Name in tables and figures.")
    calibration: Calibration = Calibration()
    clip_ratio_low: float = Field(0.2, gt=0, lt=1, description="epsilon of the clip below 1, Eq. (3).")
    clip_ratio_high: float = Field(0.2, gt=0, description="epsilon of the clip above 1, Eq. (3).")
    clip_ratio_c: float = Field(
        3.0, gt=1, description="For A < 0, verl bounds the loss at this ratio; not part of Eq. (3) and (14)."
    )
    dynamic_sampling: bool = Field(False, description="Replace groups of uniform reward (DAPO).")
    max_num_gen_batches: Count = Field(
        10, description="With dynamic_sampling: a step that needs more rollout batches is an error."
    )
    overlong_buffer: OverlongBuffer | None = Field(
        None, description="DAPO's overlong shaping. Off by default: rewards must be binary."
    )

    shuffled_answers: bool = Field(
        False, description="A control: the training's reference answers are permuted among its problems."
    )
    control: bool = Field(
        False, description="No method, but what one is compared with to see what it works by; its label says so."
    )

    @property
    def is_control(self) -> bool:
        """Whether it is there to be compared with."""
        return self.control or self.shuffled_answers or self.calibration.control != "none"

    @model_validator(mode="after")
    def _named(self) -> Method:
        if self.is_control and not self.label.startswith(CONTROL):
            raise ValueError(f"a control is named so in every table: begin its label with '{CONTROL}'")
        if self.calibration.control == "nsr_only" and not self.calibration.nsr:
            raise ValueError("the control nsr_only without NSR has no advantage at all: add nsr: true")
        return self

    @model_validator(mode="after")
    def _binary(self) -> Method:
        if self.overlong_buffer and (self.calibration.weight != "none" or self.calibration.nsr):
            raise ValueError(
                "overlong shaping gives rewards other than +1 and -1, and entropy weights and NSR need these (Eq. 1): "
                "take out overlong_buffer, or set weight: none and nsr: false"
            )
        return self
