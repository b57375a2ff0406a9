"""Files with one JSON value per line: the one reader of the project, for files that people have made elsewhere.

A line ends at \\n or \\r\\n alone: JSON may hold U+2028, U+2029 and U+0085 as they are, where `str.splitlines` would
cut it. A byte order mark and blank lines are passed over. Everything else that is wrong names file, line and remedy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.files import is_lfs_pointer, lfs_remedy

UTF8_MARK = b"\xef\xbb\xbf"
WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
SURROGATE = re.compile("[\ud800-\udfff]")
LATIN_1 = "Save the file as UTF-8, for example by `iconv -f latin1 -t utf-8 old.jsonl > new.jsonl`"
UTF_16 = "Save the file as UTF-8, for example by `iconv -f utf-16 -t utf-8 old.jsonl > new.jsonl`"


def read_values(file: Path) -> Iterator[tuple[int, Any]]:
    """Each line's number, from 1, and its JSON value.

    Raises:
        UserError: for a file that cannot be read, is empty or is not UTF-8, and for a line that is not JSON or holds
            half of a surrogate pair, which no file can be written with.
    """
    empty = True
    try:
        if is_lfs_pointer(file):
            raise UserError(lfs_remedy(file))
        with file.open("rb") as lines:  # as bytes: only there does nothing but \n end a line
            for number, line in enumerate(lines, start=1):
                line = line.removeprefix(UTF8_MARK) if number == 1 else line
                if line.strip():
                    empty = False
                    yield number, _value(line, f"{file}: line {number}")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Correct its path or its permissions.") from None
    if empty:
        raise UserError(f"{file}: this file is empty. Give it one JSON object per line, or remove it.")


def read_objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's number, from 1, and its JSON object. Raises as `read_values`, and for a line of another kind."""
    for number, value in read_values(file):
        if not isinstance(value, dict):
            remedy = "Give one object per line, such as {...}"
            if isinstance(value, list):
                remedy += '; of one list of objects, `jq -c ".[]" old.json > new.jsonl` makes such lines'
            raise UserError(f"{file}: line {number} is not a JSON object. {remedy}.")
        yield number, value


def _value(line: bytes, where: str) -> Any:
    """The JSON value of one line. where: file and line, for messages."""
    if not line.strip(b"\0\r\n"):
        raise UserError(f"{where} has zero bytes alone, as a machine that fails leaves them. Remove them.")
    if line.startswith(WIDE_MARKS) or b"\0" in line:
        raise UserError(f"{where} is not UTF-8: its zero bytes or its mark are those of UTF-16. {UTF_16}.")
    try:
        value = json.loads(line.rstrip(b"\r\n").decode())
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} is not UTF-8: byte {error.start + 1} of the line is 0x{line[error.start]:02x}. {LATIN_1}."
        ) from None
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(
            f"{where} is not JSON ({reason}). Give one object per line, each complete in its line."
        ) from None
    # Only an escape can make a lone surrogate; UTF-8 itself has none.
    if b"\\u" in line and (found := SURROGATE.search(json.dumps(value, ensure_ascii=False))):
        raise UserError(
            f"{where} holds \\u{ord(found[0]):x}, half of a surrogate pair, which is no character. Write the whole "
            "character in its place, or take it out."
        )
    return value
