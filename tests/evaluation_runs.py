"""What tests of the evaluation share: a random tiny model, small benchmarks, evaluations in their own process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from waiting import LIMIT

from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.evaluation import Evaluation
from egpo.synthetic.benchmark import write_benchmark
from egpo.synthetic.tokenizer import make_tokenizer

BACKBONE = Backbone.model_validate(
    {
        "label": "tiny",
        "source": {"kind": "local", "path": "."},
        "max_model_len": 352,
        "max_prompt_length": 320,
        "max_response_length": 24,
        "max_evaluation_length": 24,
        "min_evaluation_length": 8,
    }
)
SUBJECTS = ("astronomy", "college_physics", "machine_learning")


def benchmark(adapter: str, items: int, source: dict | None = None) -> Benchmark:
    values = {
        "label": adapter,
        "adapter": adapter,
        "source": source or {"kind": "synthetic", "seed": 5, "templates": "sums"},
        "num_questions": items,
        "num_fewshot": {"gsm8k": 2, "mmlu": 1}.get(adapter, 0),
        "subsets": SUBJECTS if adapter == "mmlu" else (),
    }
    return Benchmark.model_validate(values)


def settings(max_num_seqs: int = 16, seeds: tuple[int, ...] = (1, 2)) -> Evaluation:
    return Evaluation(
        seeds=seeds,
        platform="cpu",
        dtype="float32",
        kv_cache_gib=0.25,
        max_num_seqs=max_num_seqs,
    )


def make_model(folder: Path, context: int = 352) -> Path:
    """A random Qwen2 of half a million parameters."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = make_tokenizer(False, 1, context)
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            **shape,
            num_key_value_heads=2,
            max_position_embeddings=context,
            tie_word_embeddings=True,
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def written(folder: Path, texts: list[str]) -> Benchmark:
    """MATH-500's format with questions of these texts."""
    rows = [
        {"problem": text, "solution": "", "answer": "2", "level": 1, "unique_id": str(index)}
        for index, text in enumerate(texts)
    ]
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return benchmark("math_500", len(texts), {"kind": "local", "path": str(folder)})


SCRIPT = """
import json, sys
from pathlib import Path
import psutil
from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.evaluation import Evaluation
from egpo.evaluation.run import evaluate
a = json.loads(sys.argv[1])
def report(message):
    print("REPORT", message, flush=True)
then = None
exec(a["before"])
evaluate(Path(a["model"]), Backbone.model_validate(a["backbone"]),
         {name: Benchmark.model_validate(values) for name, values in a["benchmarks"].items()},
         {name: Path(path) for name, path in a["folders"].items()}, Evaluation.model_validate(a["settings"]),
         Path(a["work"]), Path(a["out"]), "code", report, then)
assert not psutil.Process().children(recursive=True), "a child process is left"
assert "torch" not in sys.modules, "every scoring call would copy torch"
"""


@dataclass
class Run:
    """evaluate() in a fresh process, as the workflow calls it.

    before: code that runs there first, for a fault, or to define `then`.
    """

    model: Path
    benchmarks: dict[str, Benchmark]
    folders: dict[str, Path]
    out: Path
    work: Path = field(init=False)

    def __post_init__(self) -> None:
        self.work = self.out / "work"
        for name, made in self.benchmarks.items():
            if made.source.kind == "synthetic":
                write_benchmark(made, self.folders[name])

    def call(self, chosen: Evaluation, before: str = "") -> subprocess.CompletedProcess[str]:
        arguments = {
            "model": str(self.model),
            "backbone": BACKBONE.model_dump(mode="json"),
            "benchmarks": {name: made.model_dump(mode="json") for name, made in self.benchmarks.items()},
            "folders": {name: str(folder) for name, folder in self.folders.items()},
            "settings": chosen.model_dump(mode="json"),
            "work": str(self.work),
            "out": str(self.out),
            "before": before,
        }
        command = [sys.executable, "-c", SCRIPT, json.dumps(arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)

    def __call__(self, chosen: Evaluation, before: str = "") -> tuple[pd.DataFrame, str]:
        """Records and reported lines of a run that must end well."""
        done = self.call(chosen, before)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        reported = "\n".join(line for line in done.stdout.splitlines() if line.startswith("REPORT"))
        return self.records(), reported

    def records(self) -> pd.DataFrame:
        return pd.read_parquet(self.out / "records.parquet")
