"""From plain values to a section, with readable errors."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from egpo.common.errors import UserError
from egpo.config.messages import describe_error
from egpo.config.section import Section


def parse(model: type[Section], values: Any, source: str) -> Any:
    """`values` as `model`, or a UserError with one line per wrong key of the file `source`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = [dict(item) for item in error.errors()]
        # A list whose entries are all wrong is also reported as too short.
        inside = {item["loc"][:-1] for item in found}
        found = [item for item in found if item["type"] != "too_short" or item["loc"] not in inside]
        lines = [f"{source}: {describe_error(item, model)}" for item in found]
        raise UserError("\n".join(lines)) from None
