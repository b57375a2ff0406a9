"""Controls: methods that leave out one thing that a method is said to work by. See docs/methods.md."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import torch

from egpo.common.hashing import digest
from egpo.methods.groups import Groups


def _each(
    groups: Groups, prompts: Sequence[Hashable], seed: int, what: str
) -> Iterator[tuple[torch.Tensor, torch.Generator]]:
    """The rows of each group, and a generator of its own: what is drawn does not depend on the other groups."""
    for number, name in enumerate(dict.fromkeys(prompts)):
        generator = torch.Generator().manual_seed(int.from_bytes(digest(seed, what, str(name), size=7)))
        yield torch.nonzero(groups.member == number).flatten(), generator


def coin_outcomes(correct: torch.Tensor, groups: Groups, prompts: Sequence[Hashable], seed: int) -> torch.Tensor:
    """(n,) bool: for each response a coin that falls as often as its group's responses are correct."""
    drawn = torch.empty_like(correct)
    rates = groups.mean(correct.float())
    for number, (rows, generator) in enumerate(_each(groups, prompts, seed, "coin")):
        drawn[rows] = torch.rand(len(rows), generator=generator) < rates[number]
    return drawn


def permuted_entropies(entropies: torch.Tensor, groups: Groups, prompts: Sequence[Hashable], seed: int) -> torch.Tensor:
    """(n,) the entropies of each group in another order; those that are undefined (nan) stay."""
    permuted = entropies.clone()
    for rows, generator in _each(groups, prompts, seed, "entropies"):
        defined = rows[~torch.isnan(entropies[rows])]
        permuted[defined] = entropies[defined[torch.randperm(len(defined), generator=generator)]]
    return permuted
