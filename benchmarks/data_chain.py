"""The whole data chain on generated rows of OpenR1-Math's number and shape: CPU-time by step, and memory.

    make bench

Writes results/bench/data_chain.md; ends with code 1 if a target is missed. The rows are generated: words and sentences
of Python's own documentation, answers and boxes of many forms. Generations are SCALE of the length that is assumed of
the real ones; one shard of full length says what is missing.
"""

from __future__ import annotations

import contextlib
import cProfile
import json
import os
import pstats
import pydoc_data.topics
import re
import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import psutil
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from egpo.common.files import read_json
from egpo.common.paths import ROOT
from egpo.config.data import Data, LocalSource, Quotas
from egpo.config.loader import with_preset
from egpo.data.build import build
from egpo.data.lengths import load_tokenizer
from egpo.data.parts import filtered
from egpo.data.reference_answers import not_a_value
from egpo.data.schema import FOLDERS, write_shards
from egpo.data.source import prepare
from egpo.synthetic.tokenizer import CHAT, END_OF_TEXT, END_OF_TURN, SPLIT, TURN

OUT = ROOT / "results" / "bench"
ROWS = {"default": 93_733, "extended": 131_396}  # OpenR1-Math-220k's
ROWS_PER_SHARD = 9_374
CHARACTERS = 14_000  # mean length of a generation that is assumed of the real data: about 4,000 tokens
SCALE = 0.25
ITEMS = {"math_500": 500, "aime24": 30, "mmlu_stem": 3018, "minerva": 272, "gsm8k": 1319}
WORKERS = 2
VOCABULARY = 32_000
PROFILED = 2000  # rows
QUOTAS = Quotas(default_mixed=5100, default_correct=3400, extended_mixed=900, extended_correct=600)
SOURCES = ("olympiads", "cn_contest", "aops_forum", "amc_aime", "number_theory", "inequalities")

PROSE = " ".join(" ".join(pydoc_data.topics.topics[name].split()) for name in sorted(pydoc_data.topics.topics))
WORDS = sorted(set(re.findall(r"\b[a-z]{2,}\b", PROSE)))


# --- rows ----------------------------------------------------------------------------------------


def _text(rng: Random, length: int) -> str:
    start = rng.randrange(len(PROSE))
    return (PROSE[start:] + PROSE * (length // len(PROSE) + 1))[:length] if length > 0 else ""


def _problem(rng: Random) -> str:
    """About 62 words, some of them numbers and formulas."""
    words = rng.choices(WORDS, k=rng.randint(20, 96))
    for _ in range(4):
        words[rng.randrange(len(words))] = rng.choice((str(rng.randrange(1000)), f"$x_{rng.randrange(9)} + y$"))
    return " ".join(words).capitalize() + "?"


def _answer(rng: Random) -> tuple[str, str]:
    """A reference answer, and the same value in another form."""
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    forms = [
        (50, f"{a}", f"{a}.0"),
        (12, rf"\frac{{{a}}}{{{b}}}", rf"{a}/{b}"),
        (6, f"{a / 4}", rf"\frac{{{a}}}{{4}}"),
        (6, rf"{a}\sqrt{{3}}", rf"\sqrt{{3}} \cdot {a}"),
        (4, rf"\frac{{\pi}}{{{a}}}", rf"\pi/{a}"),
        (4, f"x^2+{a}x", f"{a}x+x^2"),
        (3, f"2^{{{a}}}", f"2^{a}"),
        (3, rf"{a}\text{{ cm}}", f"{a}"),
        (5, f"{a}, {b}", f"{b}, {a}"),
        (3, f"({a}, {b}]", f"({a}, {b}]"),
        (2, "proof", "proof"),
        (2, rng.choice(WORDS), "none"),
    ]
    _, given, other = rng.choices(forms, [share for share, *_ in forms])[0]
    return given, other


def _row(subset: str, index: int, scale: float) -> dict[str, Any]:
    rng = Random(f"{subset} {index}")
    # One row in ten tells the problem of an earlier one again.
    key = f"problem {subset} {rng.randrange(index) if index and rng.random() < 0.1 else index}"
    problem, (answer, other) = _problem(Random(key)), _answer(Random(f"answer {key}"))
    count = rng.choices((2, 3, 4), (70, 5, 25))[0]
    bucket = rng.choices(("mixed", "correct", "incorrect"), (45, 40, 15))[0]
    flags = [bucket == "correct"] * count
    if bucket == "mixed":
        flags = [number == 0 or rng.random() < 0.5 for number in range(count)]
        flags[-1] = False
    boxes = [rng.choices((answer, other), (3, 1))[0] if flag else f"{rng.randint(100, 999)}" for flag in flags]
    lengths = [int(scale * CHARACTERS * rng.lognormvariate(-0.18, 0.6)) for _ in boxes]
    return {
        "problem": problem,
        "solution": _text(rng, 800) + (rf" \boxed{{{answer}}}" if rng.random() < 0.6 else ""),
        "answer": answer,
        "problem_type": "Algebra",
        "question_type": rng.choices(("math-word-problem", "MCQ", "proof"), (85, 10, 5))[0],
        "source": rng.choices(SOURCES, (45, 25, 12, 5, 8, 5))[0],
        "uuid": str(UUID(int=rng.getrandbits(128))),
        "is_reasoning_complete": [True] * count,
        "generations": [
            f"<think>\n{_text(rng, length)}\n</think>\n\nSo it is $\\boxed{{{box}}}$."
            for box, length in zip(boxes, lengths, strict=True)
        ],
        "correctness_math_verify": flags,
        "correctness_llama": None,
        "finish_reasons": ["stop"] * count,
        "correctness_count": sum(flags),
        "messages": [{"content": problem, "role": "user"}],
    }


def rows(subset: str, count: int, scale: float) -> Iterator[dict[str, Any]]:
    return (_row(subset, index, scale) for index in range(count))


def write_source(folder: Path, counts: dict[str, int], scale: float) -> Path:
    """The shards, made once."""
    done = folder / "done"
    if not done.exists():
        for subset, count in counts.items():
            write_shards(rows(subset, count, scale), ROWS_PER_SHARD, count, folder / FOLDERS[subset])
        done.touch()
    return folder


def write_tokenizer(folder: Path) -> Path:
    """A byte-level BPE like Qwen2's, of at most VOCABULARY entries."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [END_OF_TEXT, TURN, END_OF_TURN]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([PROSE[at : at + 1000] for at in range(0, len(PROSE), 1000)], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TURN, pad_token=END_OF_TEXT, chat_template=CHAT
    ).save_pretrained(folder)
    return folder


def write_items(folder: Path) -> dict[str, Path]:
    """Evaluation sets of the real sizes; every fiftieth item stands in the source as well."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, count in ITEMS.items():
        keys = [f"problem default {index}" if index % 50 == 0 else f"item {name} {index}" for index in range(count)]
        files[name] = folder / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(_problem(Random(key))) + "\n" for key in keys))
    return files


# --- CPU-time and memory -----------------------------------------------------------------------


class Watch:
    """CPU-time by step, from the chain's own messages, and the most memory that its processes had together.

    Memory is the proportional set size: what processes share counts once.
    """

    STEPS = ("filters", "decontamination", "near-duplicates", "sampling")

    def __init__(self) -> None:
        self.steps: dict[str, float] = defaultdict(float)
        self.peak, self._step, self._at, self._on = 0.0, "filters", self._cpu(), True
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    @staticmethod
    def _cpu() -> float:
        """Of this process and of its workers once they have ended, which is before the chain's next step."""
        used = os.times()
        return used.user + used.system + used.children_user + used.children_system

    def _sample(self) -> None:
        while self._on:
            total = 0
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                with contextlib.suppress(psutil.Error):  # it has just ended
                    total += process.memory_full_info().pss
            self.peak = max(self.peak, total / 1e9)
            time.sleep(0.25)

    def _book(self) -> None:
        now = self._cpu()
        self.steps[self._step] += now - self._at
        self._at = now

    def __call__(self, message: str) -> None:
        print(time.strftime("%H:%M:%S"), message, flush=True)
        self._book()
        self._step = next((step for step in self.STEPS if message.startswith(step)), self._step)
        if self._step == "filters" and message.endswith("rows left"):
            self._step = "shingles"

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._book()
        self._on = False
        self._sampler.join()


WITHIN = {
    "reading parquet": ("schema.py", "read_shard"),
    "last box": ("answers.py", "extract_boxed"),
    "tokens of prompts and responses": ("lengths.py", "_count"),
    "wording": ("filters.py", "<lambda>"),
    "math-verify: one value": ("reference_answers.py", "not_a_value"),
    "math-verify: boxed match": ("filters.py", "boxed_match"),
}


@dataclass(frozen=True)
class Filtering:
    """CPU-milliseconds a row of the row filters in one process, shares of their parts, and peak memory in GB."""

    milliseconds: float
    shares: dict[str, float]
    peak: float


def _filter(shard: Path, data: Data, tokenizer: Path) -> float:
    not_a_value.cache_clear()
    loaded = load_tokenizer(tokenizer)
    start = time.process_time()
    for _ in filtered(shard, "default", data, loaded):
        pass
    return time.process_time() - start


def profile_filters(scale: float, data: Data, tokenizer: Path) -> Filtering:
    """Of PROFILED rows with generations of `scale` times the full length; the shares are cProfile's."""
    folder = write_source(OUT / f"profiled-{scale}", {"default": PROFILED}, scale)
    [shard] = (folder / FOLDERS["default"]).glob("*.parquet")
    with Watch() as watch:
        seconds = _filter(shard, data, tokenizer)
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(_filter, shard, data, tokenizer)
    stats: Any = pstats.Stats(profiler)
    shares = {
        name: sum(
            entry[3]
            for (file, _, function), entry in stats.stats.items()
            if file.endswith(f"/{place[0]}") and function == place[1]
        )
        / stats.total_tt
        for name, place in WITHIN.items()
    }
    return Filtering(1000 * seconds / PROFILED, shares, watch.peak)


def chain(preset: str, source: Path, items: dict[str, Path], tokenizer: Path, out: Path) -> Watch:
    with Watch() as watch:
        build(settings(preset), source, tokenizer, items, out, WORKERS, watch)
    return watch


def settings(preset: str) -> Data:
    values = {
        "preset": preset,
        "source": LocalSource(kind="local", path=OUT / "openr1-like"),
        "tokenizer": "generated",
        "quotas": QUOTAS,
        "validation_rows": 128,
        "seed": 1,
    }
    return Data.model_validate(with_preset(values, "benchmarks/data_chain.py"))


# --- the page ------------------------------------------------------------------------------------


def report(short: Filtering, full: Filtering, runs: dict[str, Watch], manifest: dict[str, Any]) -> bool:
    count = sum(ROWS.values())
    first = runs["recommended"]
    minutes = {step: seconds / 60 for step, seconds in first.steps.items()}
    missing = (full.milliseconds - short.milliseconds) * count / 60_000
    lines = [
        f"# The data chain on {count:,} generated rows",
        "",
        f"`make bench`, {WORKERS} workers on {os.cpu_count()} cores, preset `recommended`. Generations have "
        f"{SCALE * CHARACTERS:,.0f} characters on average, {SCALE:.0%} of what is assumed of the real ones.",
        "",
        "| step | CPU-minutes |",
        "| --- | ---: |",
        *(f"| {step} | {spent:.2f} |" for step, spent in minutes.items()),
        f"| all | {sum(minutes.values()):.1f} |",
        "",
        f"Peak memory of all processes together: {first.peak:.2f} GB. At full length the row filters would take "
        f"{missing:.1f} CPU-minutes more: {full.milliseconds:.1f} ms a row in place of {short.milliseconds:.1f}, "
        f"timed on {PROFILED:,} rows; the other steps do not read generations. Such a worker has {full.peak:.2f} GB "
        f"in place of {short.peak:.2f}.",
        "",
        f"Of {manifest['source_rows']:,} rows {sum(part['rows'] for part in manifest['splits'].values()):,} are left. "
        "Once the rows are filtered, another preset takes the later steps alone: `paper` took "
        f"{sum(runs['paper'].steps.values()) / 60:.2f} CPU-minutes.",
        "",
        "## Where the row filters' time goes",
        "",
        "Shares by cProfile, which makes Python's part look larger than it is.",
        "",
        f"| | at {SCALE:.0%} of the length | at full length |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {short.shares[name]:.0%} | {full.shares[name]:.0%} |" for name in WITHIN),
    ]
    verify = sum(share for name, share in full.shares.items() if name.startswith("math-verify"))
    targets = {
        f"peak memory under 4 GB: {first.peak:.2f}": first.peak < 4,
        f"math-verify at most a third of the row filters at full length: {verify:.0%}": verify <= 1 / 3,
    }
    lines += ["", "Targets:", "", *(f"- {name}: {'met' if met else 'MISSED'}" for name, met in targets.items())]
    text = "\n".join(lines) + "\n"
    (OUT / "data_chain.md").write_text(text)
    print(text)
    return all(targets.values())


def main() -> int:
    tokenizer = write_tokenizer(OUT / "tokenizer")
    short, full = (profile_filters(scale, settings("recommended"), tokenizer) for scale in (SCALE, 1.0))
    write_source(OUT / "openr1-like", ROWS, SCALE)
    prepare(settings("recommended").source, OUT / "chain" / "source", print)
    items = write_items(OUT / "chain" / "items")
    shutil.rmtree(OUT / "chain" / "pool", ignore_errors=True)
    runs = {
        preset: chain(preset, OUT / "chain" / "source", items, tokenizer, OUT / "chain" / "pool")
        for preset in ("recommended", "paper")
    }
    return 0 if report(short, full, runs, read_json(OUT / "chain" / "pool" / "manifest.json")) else 1


if __name__ == "__main__":
    sys.exit(main())
