"""The first prompt of each benchmark as a model sees it, and how many prompts leave too little of a context.

    .venv/bin/python benchmarks/prompts.py BENCHMARKS TOKENIZER [--tiktoken FILE]

BENCHMARKS is a folder with one folder per benchmark of config/benchmarks.yaml (math_500, aime24, minerva_math, gsm8k,
mmlu_stem); TOKENIZER a folder with a tokenizer and its chat template; FILE a vocabulary of tiktoken, such as
qwen.tiktoken, in which tokens are counted instead. Writes results/bench/prompts.md.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.files import read_yaml

FOLDERS = {"minerva": "minerva_math"}  # where a benchmark's folder has another name than its entry
OUT = ROOT / "results" / "bench" / "prompts.md"
PATTERN = (  # of Qwen's tokenizer, before the merges
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def catalogue(name: str, model: type) -> dict[str, Any]:
    return {key: model.model_validate(value) for key, value in read_yaml(ROOT / "config" / f"{name}.yaml").items()}


def messages(name: str, benchmark: Benchmark, folder: Path) -> list[list[dict[str, str]]]:
    """Every prompt of a benchmark, as evalscope makes it from a copy of the folder: it writes there."""
    from egpo.evaluation.harness import read_samples

    with tempfile.TemporaryDirectory() as place:
        copied = Path(place) / name
        shutil.copytree(folder, copied, copy_function=shutil.copyfile)
        copied.chmod(0o755)
        samples = read_samples(name, benchmark, copied)
    every = [sample for subset in samples.values() for sample in subset]
    return [[{"role": message.role, "content": message.text} for message in sample.input] for sample in every]


def counter(tokenizer: Any, vocabulary: Path | None) -> Callable[[str], int]:
    """Number of tokens of a text."""
    if vocabulary is None:
        return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe

    ranks = load_tiktoken_bpe(str(vocabulary))
    special = {name: len(ranks) + place for place, name in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))}
    encoding = tiktoken.Encoding("qwen", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    return lambda text: len(encoding.encode(text, allowed_special="all"))


def lines(benchmarks: Path, tokenizer: Any, count: Callable[[str], int]) -> Iterator[str]:
    backbones = {name: one for name, one in catalogue("backbones", Backbone).items() if one.source.kind == "hub"}
    first, rows = [], []
    for name, benchmark in catalogue("benchmarks", Benchmark).items():
        folder = benchmarks / FOLDERS.get(name, name)
        if benchmark.source.kind != "hub" or not folder.is_dir():
            continue
        prompts = [
            tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True)
            for one in messages(name, benchmark, folder)
        ]
        first.append(f"## {benchmark.label}\n\n```\n{prompts[0]}\n```\n")
        lengths = [count(prompt) for prompt in prompts]
        cells = []
        for backbone in backbones.values():
            room = backbone.max_model_len - backbone.max_evaluation_length
            least = backbone.max_model_len - (backbone.min_evaluation_length or backbone.max_evaluation_length)
            shorter = sum(room < length <= least for length in lengths)
            cells.append(f"{shorter}, {sum(length > least for length in lengths)}")
        middle = sorted(lengths)[len(lengths) // 2]
        rows.append(f"| {benchmark.label} | {len(lengths):,} | {middle} | {max(lengths)} | {' | '.join(cells)} |")
    yield f"| Benchmark | prompts | median | longest | {' | '.join(one.label for one in backbones.values())} |"
    yield f"| --- | ---: | ---: | ---: | {' | '.join('---:' for _ in backbones)} |"
    yield from rows
    yield ""
    yield from first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--tiktoken", type=Path)
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer)
    text = "\n".join(lines(given.benchmarks, tokenizer, counter(tokenizer, given.tiktoken)))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
