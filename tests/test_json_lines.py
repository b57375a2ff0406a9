"""Files of JSON lines as people have them: each is read, or refused with file, line and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from chain import quiet

from egpo.cli.check import load_checked
from egpo.common.errors import UserError
from egpo.common.json_lines import read_objects, read_values
from egpo.common.paths import ROOT
from egpo.config.data import LocalSource, ProblemsSource
from egpo.data.build import read_questions
from egpo.data.problem_files import every_file, rows
from egpo.data.source import prepare
from egpo.training.progress import read_lines

ROW = {"problem": "How much is a café's bill of 2 * 3 €?", "answer": "6"}
LINE = json.dumps(ROW, ensure_ascii=False)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 134515008\n"


def source(path: Path, **keys: object) -> ProblemsSource:
    return ProblemsSource.model_validate({"kind": "problems", "path": path, **keys})


def values(content: bytes, folder: Path) -> list:
    (folder / "mine.jsonl").write_bytes(content)
    return [value for _, value in read_values(folder / "mine.jsonl")]


# --- what is read ----------------------------------------------------------------------------------

READ = {
    "as it should be": f"{LINE}\n{LINE}\n".encode(),
    "no end of line at the end": f"{LINE}\n{LINE}".encode(),
    "Windows' ends of lines": f"{LINE}\r\n{LINE}\r\n".encode(),
    "a byte order mark": f"{LINE}\n{LINE}\n".encode("utf-8-sig"),
    "blank lines": f"\n{LINE}\n  \n\r\n{LINE}\n\n".encode(),
    "escapes": f"{json.dumps(ROW)}\n{json.dumps(ROW)}\n".encode(),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read(name: str, tmp_path: Path) -> None:
    assert values(READ[name], tmp_path) == [ROW, ROW]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0c", "\x1c", "\u000b"])
def test_what_ends_a_line_of_text_does_not_end_one_of_json(character: str, tmp_path: Path) -> None:
    """Python's str.splitlines cuts at each of them; below U+0020 JSON allows only the escape."""
    raw = character if character > "\x20" else f"\\u{ord(character):04x}"
    assert values(f'"a{raw}b"\n"c"\n'.encode(), tmp_path) == [f"a{character}b", "c"]


def test_such_a_question_is_one_question(tmp_path: Path) -> None:
    """As egpo.evaluation.questions writes it, which leaves such a character as it is."""
    texts = ["What is 1 + 1?\u2028Think first.", "What is\u0085 2 + 2?", "\U0001d465 and 😀"]
    file = tmp_path / "mine.questions.jsonl"
    file.write_text("".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts))
    assert read_questions({"mine": file}) == {"mine": texts}


def test_a_pair_of_surrogates_is_a_character(tmp_path: Path) -> None:
    assert values(rb'{"a": "\ud835\udc65"}', tmp_path) == [{"a": "\U0001d465"}]


def test_hidden_files_of_a_folder_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(LINE)
    (tmp_path / "._train.jsonl").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    (tmp_path / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    (tmp_path / "notes.txt").write_text("mine")
    assert every_file(source(tmp_path).parts) == [tmp_path / "train.jsonl"]
    assert [row["problem"] for row in rows(source(tmp_path))] == [ROW["problem"]]


def test_hidden_shards_do_not_count(tmp_path: Path) -> None:
    prepare(source(_file(LINE.encode(), tmp_path)), tmp_path / "made", quiet)
    (tmp_path / "made" / "data" / "._train-00000-of-00001.parquet").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    prepare(LocalSource(kind="local", path=tmp_path / "made"), tmp_path / "again", quiet)


def test_metrics_up_to_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert read_lines(file) == []
    file.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_lines(file) == [{"step": 1}, {"step": 2}]


# --- what is refused -------------------------------------------------------------------------------

# Content of mine.jsonl: (words of the message after the file's name).
REFUSED = {
    "Latin-1": (f"{LINE.replace('€', '$')}\n".encode("latin-1"), ("line 1 is not UTF-8", "0xe9", "iconv -f latin1")),
    "Latin-1 further down": (b'{"a": 1}\n{"a": "\xe9"}\n', ("line 2 is not UTF-8", "Save the file as UTF-8")),
    "UTF-16": (f"{LINE}\n".encode("utf-16"), ("line 1 is not UTF-8", "those of UTF-16", "iconv -f utf-16")),
    "UTF-16 without a mark": (f"{LINE}\n".encode("utf-16-le"), ("line 1 is not UTF-8", "those of UTF-16", "iconv")),
    "zero bytes after a crash": (f"{LINE}\n".encode() + b"\0" * 100, ("line 2 has zero bytes alone", "Remove them")),
    "a lone surrogate": (
        rb'{"problem": "a \ud835 b"}',
        ("line 1 holds \\ud835", "half of a surrogate pair", "take it"),
    ),
    "a lone surrogate in a key": (rb'{"a \uDC65": 1}', ("line 1 holds \\udc65", "Write the whole character")),
    "an encoded surrogate": (b'{"a": "\xed\xa0\xb5"}', ("line 1 is not UTF-8", "iconv")),
    "an empty file": (b"", ("this file is empty", "Give it one JSON object per line, or remove it")),
    "blank lines alone": (b"\n\n  \n", ("this file is empty",)),
    "no JSON": (f'{LINE}\n{{"problem"\n'.encode(), ("line 2 is not JSON", "column 11", "Give one object per line")),
    "a list": (f"[{LINE}]\n".encode(), ("line 1 is not a JSON object", "jq -c")),
    "an object over several lines": (json.dumps(ROW, indent=2).encode(), ("line 1 is not JSON", "in its line")),
    "a text": (b'"text"\n', ("line 1 is not a JSON object",)),
    "endless brackets": (b"[" * 100_000, ("line 1 is not JSON",)),
    "a pointer of Git LFS": (LFS.encode(), ("a pointer of Git LFS", "git lfs pull")),
}


def _file(content: bytes, folder: Path) -> Path:
    (folder / "mine.jsonl").write_bytes(content)
    return folder / "mine.jsonl"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    file = _file(content, tmp_path)
    with pytest.raises(UserError) as caught:
        list(read_objects(file))
    message = str(caught.value)
    assert message.startswith(f"{file}: ") and message.endswith(".") and "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    """As the rule data_source calls it."""
    file = _file(REFUSED[name][0], tmp_path)
    with pytest.raises(UserError, match=r"mine\.jsonl: "):
        prepare(source(file), tmp_path / "source", quiet)
    assert not list((tmp_path / "source").rglob("*.parquet"))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_pointer_in_place_of_the_file(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"train.{suffix}").write_text(LFS)
    with pytest.raises(UserError, match=rf"train\.{suffix}: this is a pointer of Git LFS.*git lfs pull"):
        list(rows(source(tmp_path)))


def test_a_parquet_file_without_rows(tmp_path: Path) -> None:
    pd.DataFrame({"problem": [], "answer": []}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet: this file is empty: it has no row"):
        list(rows(source(tmp_path)))


# --- the mark before the answer --------------------------------------------------------------------

WITHOUT_MARK = "She sold 48+24 = 72 altogether"


def test_an_answer_without_its_mark_is_missing(tmp_path: Path) -> None:
    """The whole text would be a truth that no response can match."""
    told: list[str] = []
    lines = [{**ROW, "answer": "2 * 3 = 6\n#### 6"}, {**ROW, "answer": WITHOUT_MARK}, {**ROW, "answer": None}]
    file = _file("\n".join(map(json.dumps, lines)).encode(), tmp_path)
    marked = source(file, answer_after="####")
    assert [row["answer"] for row in rows(marked)] == [" 6", "", ""]
    prepare(marked, tmp_path / "source", told.append)
    assert any("mine: 2 of 3 answers are without '####'" in line and "no-answer" in line for line in told)


def test_a_mark_that_no_answer_has(tmp_path: Path) -> None:
    file = _file(json.dumps({**ROW, "answer": WITHOUT_MARK}).encode(), tmp_path)
    with pytest.raises(
        UserError, match=r"data\.source\.answer_after: '####' is in no answer of mine.*take the key out"
    ):
        prepare(source(file, answer_after="####"), tmp_path / "source", quiet)


# --- before anything runs --------------------------------------------------------------------------


LATER = ("Latin-1 further down", "no JSON", "zero bytes after a crash")  # their first line is well


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in LATER])
def test_the_first_line_is_read_by_egpo_check(name: str, demo: dict, tmp_path: Path) -> None:
    demo["data"] |= {"source": {"kind": "problems", "path": str(_file(REFUSED[name][0], tmp_path))}}
    demo["data"]["quotas"] = {"rows": 1000}
    with pytest.raises(UserError) as caught:
        load_checked(demo, "mine.yaml")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("mine.yaml: ") and "mine.jsonl: " in line


def test_missing_shards_are_named_before_anything_runs(demo: dict, tmp_path: Path) -> None:
    """Two of three files of a model, an index that names a third, one of two shards of each subset of the data."""
    model = tmp_path / "model"
    model.mkdir()
    for number in (1, 3):
        (model / f"model-0000{number}-of-00003.safetensors").write_bytes(b"")
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "other.safetensors"}}')
    (model / "config.json").write_text("{}")
    (model / "tokenizer_config.json").write_text('{"chat_template": ""}')
    for name in ("data", "extended"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train-00001-of-00002.parquet").write_bytes(b"")
    demo["extra_models"] = {"own": {"model": str(model), "like": "tiny-math"}}
    demo["data"]["source"] = {"kind": "local", "path": str(tmp_path)}
    with pytest.raises(UserError) as caught:
        load_checked(demo, "mine.yaml")
    text = str(caught.value)
    for name in ("model-00002-of-00003.safetensors", "other.safetensors", "train-00000-of-00002.parquet"):
        assert name in text, text
    lines = text.splitlines()
    assert len(lines) == 3 and all("lacks" in line and "copy or download it again" in line for line in lines)
    assert text.count("train-00000-of-00002.parquet") == 2


def test_pointers_in_the_folders_of_models_and_benchmarks(demo: dict, tmp_path: Path) -> None:
    model, benchmark = tmp_path / "model", tmp_path / "benchmark"
    model.mkdir()
    (benchmark / "test").mkdir(parents=True)
    (benchmark / "test" / "a.parquet").write_text(LFS)
    (model / "model.safetensors").write_text(LFS)
    (model / "config.json").write_text("{}")
    (model / "tokenizer_config.json").write_text('{"chat_template": ""}')
    entry = yaml.safe_load((ROOT / "config" / "benchmarks.yaml").read_text())["math_500"]
    demo |= {
        "benchmarks": ["mine"],
        "define": {"benchmarks": {"mine": {**entry, "source": {"kind": "local", "path": str(benchmark)}}}},
        "extra_models": {"own": {"model": str(model), "like": "tiny-math"}},
    }
    with pytest.raises(UserError) as caught:
        load_checked(demo, "mine.yaml")
    lines = str(caught.value).splitlines()
    for key, file in (("define.benchmarks.mine.source.path", "a.parquet"), ("extra_models.own.model", "model.safet")):
        assert any(f"mine.yaml: {key}: " in line and file in line and "git lfs pull" in line for line in lines), lines
