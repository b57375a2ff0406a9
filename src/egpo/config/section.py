"""What all sections of the configuration share: their base class, types of values, and how they are parsed."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from egpo.common.errors import UserError
from egpo.config.messages import describe_error

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Lower-case name, used in paths.")]
# In Markdown's tables | ends a cell; in figures $ begins mathematics, and a name that begins with _ is not shown.
Label = Annotated[str, Field(pattern=r"^[^_|$\x00-\x1f][^|$\x00-\x1f]*$")]
# Strict: YAML's `yes` must not become 1. Larger numbers are slips, and would end a job that has begun.
Whole = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Seed = Whole
Count = Annotated[int, Field(ge=1, lt=2**31, strict=True)]
Several = Annotated[int, Field(ge=2, lt=2**31, strict=True)]
TopK = Annotated[int, Field(ge=-1, lt=2**31, strict=True, description="-1 for all tokens.")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Repo = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]  # owner/name on the Hugging Face Hub
Levels = tuple[Share, Share, Share, Share, Share]  # of the five levels of synthetic problems


class Section(BaseModel):
    """A part of the configuration. A key that is not described is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


Parsed = TypeVar("Parsed", bound=Section)


def parse(model: type[Parsed], values: Any, source: str) -> Parsed:
    """`values` as a section.

    Raises:
        UserError: one line per wrong key of the file `source`.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors()
        # A list whose entries are all wrong is also reported as too short.
        inside = {item["loc"][:-1] for item in found}
        found = [item for item in found if item["type"] != "too_short" or item["loc"] not in inside]
        raise UserError("\n".join(f"{source}: {describe_error(item, model)}" for item in found)) from None
