"""Atomic writes, to a temporary file in the same folder that is then renamed; hashes; what a file really is."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SHARD = re.compile(r"(.+)-\d+-of-(\d+)(\.\w+)")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder, renamed to `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # With the same suffix: some writers choose the format by it.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_hidden(path: Path) -> bool:
    """Whether a file's name begins with a dot, as those that systems leave beside the real ones (`._train.jsonl`)."""
    return path.name.startswith(".")


def is_lfs_pointer(path: Path) -> bool:
    """Whether Git LFS has left its pointer of some 130 bytes in place of the file's content."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def missing_shards(files: Iterable[Path]) -> list[str]:
    """Names of the files that those named `...-00001-of-00004...` lack beside them.

    Models are numbered from 1 (transformers), datasets from 0 (datasets).
    """
    names = {file.name for file in files}
    wanted = set()
    for found in filter(None, map(SHARD.fullmatch, names)):
        stem, count, suffix = found.groups()
        first = 1 if suffix == ".safetensors" else 0
        wanted |= {f"{stem}-{first + n:0{len(count)}}-of-{count}{suffix}" for n in range(int(count))}
    return sorted(wanted - names)


def lfs_pointers(folder: Path) -> Iterator[Path]:
    """Such files anywhere below a folder."""
    return (file for file in folder.rglob("*") if is_lfs_pointer(file))


def lfs_remedy(path: Path) -> str:
    """What a message says of such a file."""
    return (
        f"{path}: this is a pointer of Git LFS, not the file itself. Run `git lfs pull` in the folder that it was "
        "cloned to, or download the file."
    )
