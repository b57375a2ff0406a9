"""Groups of responses to one prompt: statistics and kinds."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Groups:
    """Which response belongs to which prompt.

    Attributes:
        member: (n,) int64, the number of each response's group, from 0 to count - 1.
        count: number of groups.
    """

    member: torch.Tensor
    count: int

    @classmethod
    def of(cls, prompts: Sequence[Hashable]) -> Groups:
        """Groups from one prompt identity per response; equal identities are one group."""
        numbers: dict[Hashable, int] = {}
        member = [numbers.setdefault(prompt, len(numbers)) for prompt in prompts]
        return cls(torch.tensor(member, dtype=torch.int64), len(numbers))

    @cached_property
    def blocks(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Groups of equal size stacked: (group numbers (g,), rows (g, size)) for each size.

        Reducing a block gives the same bits as reducing each group alone; scattered sums would not.
        """
        order = torch.argsort(self.member, stable=True)
        sizes = torch.bincount(self.member, minlength=self.count)
        starts = torch.cumsum(sizes, 0) - sizes
        blocks = []
        for size in torch.unique(sizes).tolist():
            groups = torch.nonzero(sizes == size).flatten()
            blocks.append((groups, order[starts[groups, None] + torch.arange(size)]))
        return blocks

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """(count,) mean of `values` (n,) in each group."""
        return self._reduced(values, torch.mean)

    def mean_of_defined(self, values: torch.Tensor) -> torch.Tensor:
        """(count,) mean over the values of each group that are not nan; nan where there is none."""
        return self._reduced(values, torch.nanmean)

    def _reduced(self, values: torch.Tensor, reduce: Callable[..., torch.Tensor]) -> torch.Tensor:
        out = values.new_empty(self.count)
        for groups, rows in self.blocks:
            out[groups] = reduce(values[rows], dim=1)
        return out

    def std(self, values: torch.Tensor) -> torch.Tensor:
        """(count,) unbiased standard deviation in each group; 1 for a group of one, as in verl."""
        out = values.new_ones(self.count)
        for groups, rows in self.blocks:
            if rows.shape[1] > 1:
                out[groups] = values[rows].std(dim=1)
        return out

    def spread(self, per_group: torch.Tensor) -> torch.Tensor:
        """(n,) from (count,): each response gets its group's value."""
        return per_group[self.member]


@dataclass(frozen=True)
class Kinds:
    """(count,) booleans: every group is exactly one of mixed, entirely correct, entirely incorrect."""

    mixed: torch.Tensor
    entirely_correct: torch.Tensor
    entirely_incorrect: torch.Tensor


def kinds_of(correct: torch.Tensor, groups: Groups) -> Kinds:
    """Kinds of the groups from outcomes (n,) bool."""
    share = groups.mean(correct.float())
    all_correct, none_correct = share == 1, share == 0
    return Kinds(~all_correct & ~none_correct, all_correct, none_correct)
