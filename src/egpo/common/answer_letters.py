r"""The letter that a response chooses, where the answer is one of several options."""

from __future__ import annotations

import re

from egpo.common.answers import extract_boxed

_CHOICE = r"\(?([A-Z])\)?(?![A-Za-z'])"
_INSIDE = re.compile(rf"(?:\\(?:text|textbf|mathrm|mathbf)\s*\{{)?\s*{_CHOICE}")  # at the start of a box
_SAID = re.compile(rf"(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*(?:\*\*|\$|\\\()?\s*{_CHOICE}")
_BOLD = re.compile(rf"\*\*\s*{_CHOICE}[^*\n]*\*\*")
_LINE = re.compile(r"\(?([A-Z])(?:\)|[.:]|$).*")


def chosen_letter(response: str) -> str | None:
    """The last letter in a box, else the last after "answer", else the last in bold, else that of the last line.

    Returns:
        A capital letter; None where the response has none in any of these places.
    """
    box = extract_boxed(response)
    inside = _INSIDE.match(box.strip()) if box is not None else None
    if inside:
        return inside[1]
    for pattern in (_SAID, _BOLD):
        found = pattern.findall(response)
        if found:
            return found[-1]
    lines = response.strip().splitlines()
    last = _LINE.fullmatch(lines[-1].strip()) if lines else None
    return last[1] if last else None
