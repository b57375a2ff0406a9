"""Synthetic benchmarks, evalscope with vLLM behind it on a tiny random model, records and statistics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import psutil
import pytest

from egpo.config import Backbone, Benchmark, Evaluation
from egpo.data.problems import LEVELS, draw_problem
from egpo.errors import UserError
from egpo.evaluation.engine import Engine, EngineError, request_seed
from egpo.evaluation.records import STATUS, outcome
from egpo.evaluation.run import evaluate, hashes, model_files, plan
from egpo.evaluation.statistics import accuracy, clustered_se, correctness, sd_over_trials
from egpo.evaluation.synthetic import draw_items, write_benchmark

BACKBONE = Backbone.model_validate(
    {
        "label": "tiny",
        "source": {"kind": "local", "path": "."},
        "context": 256,
        "prompt_tokens": 128,
        "response_tokens": 24,
        "evaluation_tokens": 24,
    }
)


def benchmark(adapter: str, items: int, source: dict | None = None) -> Benchmark:
    source = source or {"kind": "synthetic", "seed": 5, "templates": "sums"}
    return Benchmark.model_validate(
        {
            "label": adapter,
            "adapter": adapter,
            "source": source,
            "items": items,
            "shots": 2 if adapter == "gsm8k" else 0,
        }
    )


def settings(concurrency: int) -> Evaluation:
    return Evaluation(
        seeds=(1, 2),
        platform="cpu",
        dtype="float32",
        kv_cache_gib=0.25,
        concurrency=concurrency,
        time_limit_minutes=5,
    )


# --- synthetic benchmarks ------------------------------------------------------------------------


@pytest.mark.parametrize("wording", ["sums", "stories"])
def test_items_are_distinct_even_and_never_seen_in_training(wording):
    items = draw_items(benchmark("gsm8k", 200).source.model_copy(update={"templates": wording}), 200)
    texts = {item.text for item in items}
    rng = Random(1)
    trained_on = {draw_problem(rng, "train", wording).text for _ in range(20000)}
    assert len(texts) == 200
    assert Counter(item.level for item in items) == dict.fromkeys(LEVELS, 40)
    assert not texts & trained_on


def test_items_depend_on_seed_and_index_alone():
    source = benchmark("gsm8k", 10).source
    assert draw_items(source, 10) == draw_items(source, 30)[:10]
    assert draw_items(source, 10) != draw_items(source.model_copy(update={"seed": 6}), 10)


@pytest.mark.parametrize("adapter", ["gsm8k", "math_500"])
def test_evalscope_reads_the_synthetic_formats(adapter, tmp_path):
    from evalscope.api.registry import get_benchmark

    from egpo.evaluation.trial import count_questions, task

    made = benchmark(adapter, 20)
    write_benchmark(made, tmp_path)
    assert sum(count_questions(adapter, made, tmp_path).values()) == 20
    reader = get_benchmark(adapter, task("model", adapter, made, tmp_path, 4, tmp_path))
    samples = [sample for subset in reader.load_dataset().values() for sample in subset]
    answers = {item.text: item.answer for item in draw_items(made.source, 20)}
    for sample in samples:
        (text,) = [text for text in answers if f"{text}\nPlease reason" in sample.input[0].content]
        assert sample.target == answers.pop(text)
    assert not answers
    assert samples[0].input[0].content.count("ANSWER: \\boxed{") == made.shots


def test_a_wrong_number_of_items_names_the_key(tmp_path):
    from egpo.evaluation.trial import count_questions

    write_benchmark(benchmark("math_500", 20), tmp_path)
    with pytest.raises(UserError, match=r"benchmarks\.yaml: mine\.items: 21.* reads 20 questions"):
        count_questions("mine", benchmark("math_500", 21), tmp_path)
    with pytest.raises(UserError, match="mine: evalscope cannot read its 'gsm8k'"):
        count_questions("mine", benchmark("gsm8k", 20), tmp_path)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"adapter.*'aime24'.*gsm8k, math_500"):
        write_benchmark(benchmark("aime24", 3), tmp_path)


# --- records and statistics ----------------------------------------------------------------------


def prediction(text: str = "5", stop: str = "stop", error: str | None = None) -> dict:
    message = {"content": text}
    usage = {"output_tokens": len(text)}
    return {"model_output": {"choices": [{"message": message, "stop_reason": stop}], "usage": usage, "error": error}}


def review(value: dict, status: str = "success") -> dict:
    score = {"value": value, "status": status, "main_score_name": "accuracy", "extracted_prediction": "5"}
    return {"sample_score": {"score": score}}


RIGHT = review({"accuracy": 1.0})


@pytest.mark.parametrize(
    ("status", "asked", "judged"),
    [
        ("scored", prediction(), RIGHT),
        ("missing", None, None),
        ("missing", prediction(), None),
        ("excluded", prediction(), review({}, "excluded")),
        ("excluded", prediction(), review({"accuracy": 1.0}, "excluded")),
        ("failed", prediction("", "unknown", "out of memory"), RIGHT),
        ("overflow", prediction("", "model_length", "too long"), RIGHT),
    ],
)
def test_only_a_score_of_an_answer_is_right(status, asked, judged):
    result = outcome(asked, judged)
    assert result["status"] == status
    assert result["correct"] == (status == "scored")


def test_statistics_over_known_answers():
    # Two training seeds, three questions, two trials.
    correct = np.array([[[1, 1], [1, 0], [0, 0]], [[1, 1], [0, 0], [0, 0]]], dtype=bool)
    assert accuracy(correct) == pytest.approx(5 / 12)
    # Trials of the first seed: 2/3 and 1/3; of the second: 1/3 and 1/3.
    assert sd_over_trials(correct) == pytest.approx((((1 / 3) ** 2 / 2) / 2) ** 0.5)
    # Means of the questions: 1, 1/4, 0.
    assert clustered_se(correct) == pytest.approx(np.std([1, 0.25, 0], ddof=1) / 3**0.5)
    assert np.isnan(sd_over_trials(correct[:, :, :1]))


def test_correctness_needs_every_record():
    rows = [{"question": q, "trial": t, "correct": q == t} for q in range(3) for t in (1, 2)]
    assert correctness(pd.DataFrame(rows)).tolist() == [[False, False], [True, False], [False, True]]
    with pytest.raises(ValueError, match="no record"):
        correctness(pd.DataFrame(rows[:-1]))


# --- vLLM ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A random Qwen2 of half a million parameters."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from egpo.backbones.tokenizer import make_tokenizer

    folder = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer(False, 1, 256)
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            **shape,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def long_benchmark(folder: Path) -> Benchmark:
    """MATH-500's format with two questions, the second far too long for the context."""
    rows = [
        {"problem": text, "solution": "", "answer": "2", "level": 1, "unique_id": str(index)}
        for index, text in enumerate(["What is 1 + 1?", "What is 1 + 1? " * 300])
    ]
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return benchmark("math_500", 2, {"kind": "local", "path": str(folder)})


SCRIPT = """
import json, sys
from pathlib import Path
import psutil
from egpo.config import Backbone, Benchmark, Evaluation
from egpo.evaluation.run import evaluate, hashes, model_files, plan
a = json.loads(sys.argv[1])
evaluate(Path(a["model"]), Backbone.model_validate(a["backbone"]),
         {name: Benchmark.model_validate(values) for name, values in a["benchmarks"].items()},
         {name: Path(path) for name, path in a["folders"].items()}, Evaluation.model_validate(a["settings"]),
         Path(a["out"]) / "work", Path(a["out"]), lambda message: print("REPORT", message))
assert not psutil.Process().children(recursive=True), "a child process is left"
assert "torch" not in sys.modules, "every scoring call would copy torch"
"""


class Run:
    """evaluate() in a fresh process, as the workflow calls it."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.out = model, folder / "out"
        self.benchmarks = {"sums": benchmark("math_500", 15), "stories": benchmark("gsm8k", 10)}
        self.folders = {name: folder / name for name in self.benchmarks}
        for name, made in self.benchmarks.items():
            write_benchmark(made, self.folders[name])
        self.folders["long"] = folder / "long"
        self.benchmarks["long"] = long_benchmark(folder / "long")

    def __call__(self, concurrency: int) -> tuple[pd.DataFrame, str]:
        """Records and reported lines."""
        arguments = {
            "model": str(self.model),
            "backbone": BACKBONE.model_dump(mode="json"),
            "benchmarks": {name: made.model_dump(mode="json") for name, made in self.benchmarks.items()},
            "folders": {name: str(folder) for name, folder in self.folders.items()},
            "settings": settings(concurrency).model_dump(mode="json"),
            "out": str(self.out),
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(arguments)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        reported = "\n".join(line for line in done.stdout.splitlines() if line.startswith("REPORT"))
        return pd.read_parquet(self.out / "records.parquet"), reported


@pytest.fixture(scope="module")
def run(model, tmp_path_factory) -> Run:
    return Run(model, tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def first(run) -> pd.DataFrame:
    return run(concurrency=16)[0]


def test_every_question_has_a_record_in_every_trial(run, first):
    sizes = first.groupby(["benchmark", "trial"]).size().to_dict()
    assert sizes == {(name, trial): made.items for name, made in run.benchmarks.items() for trial in (1, 2)}
    assert not first.duplicated(["benchmark", "question", "trial"]).any()
    assert set(first["status"]) <= set(STATUS)
    manifest = json.loads((run.out / "manifest.json").read_text())
    assert manifest["results"]["sums"]["records"] == 30
    assert manifest["inputs"][str(run.model / "model.safetensors")]


def test_a_prompt_beyond_the_context_is_not_sent_and_counts_as_wrong(first):
    long = first[first["benchmark"] == "long"].sort_values(["trial", "question"])
    assert long["status"].tolist() == ["scored", "overflow"] * 2
    assert long["response"].isna().tolist() == [False, True] * 2
    assert not long["correct"].any()


def test_trials_differ_and_answers_keep_to_their_budget(first):
    answered = first[first["status"] == "scored"]
    texts = answered.pivot(index=["benchmark", "question"], columns="trial", values="response")
    assert (texts[1] != texts[2]).all()
    assert answered["response_tokens"].max() == BACKBONE.evaluation_tokens
    assert (answered["truncated"] == (answered["response_tokens"] == BACKBONE.evaluation_tokens)).all()


def test_killed_trials_start_over_and_concurrency_changes_nothing(run, first):
    killed = [run.out / "work" / name / "seed-2" for name in run.benchmarks]
    for folder in killed:  # as a kill leaves them: without the note, with some of evalscope's lines
        (folder / "finished.json").unlink()
        for path in folder.rglob("predictions/**/*.jsonl"):
            path.write_text(path.read_text()[:500])
    again, reported = run(concurrency=3)
    assert "3 of 6 trials are finished already" in reported
    pd.testing.assert_frame_equal(again, first)


def test_a_lost_line_stays_in_the_denominator(run, first):
    (path,) = (run.out / "work" / "stories" / "seed-1").rglob("reviews/**/*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    lost = json.loads(lines[3])["index"]
    path.write_text("".join(lines[:3] + lines[4:]))
    records, _ = run(concurrency=3)
    mine = records[(records["benchmark"] == "stories") & (records["trial"] == 1)].set_index("question")
    path.write_text("".join(lines))
    assert len(mine) == 10
    assert mine["status"].to_dict() == {**dict.fromkeys(range(10), "scored"), lost: "missing"}
    assert not mine["correct"][lost]


def test_finished_trials_count_for_the_same_model_alone(run, first):
    def finished(model: dict[str, str]) -> int:
        trials = plan(model, BACKBONE, run.benchmarks, run.folders, settings(3), run.out / "work")
        return sum(trial.finished is not None for trial in trials)

    own = hashes(model_files(run.model))
    assert finished(own) == 6
    assert finished({**own, str(run.model / "model.safetensors"): "other weights"}) == 0


def test_the_seed_of_a_request_depends_on_question_and_trial():
    ask = [{"role": "user", "content": "What is 1 + 1?"}]
    other = [{"role": "user", "content": "What is 1 + 2?"}]
    assert request_seed(1, ask) == request_seed(1, list(ask))
    assert len({request_seed(1, ask), request_seed(2, ask), request_seed(1, other)}) == 3


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.json"):
        evaluate(tmp_path, BACKBONE, {}, {}, settings(1), tmp_path / "work", tmp_path / "out", print)


def test_a_dead_engine_is_an_error_and_not_a_wait(model):
    with Engine(model, BACKBONE, settings(1)) as engine:
        due = engine.ask([{"role": "user", "content": "Hi"}], 1)
        engine._process.kill()
        with pytest.raises(EngineError):
            due.result(timeout=20)
        with pytest.raises(EngineError):
            engine.wait()
        with pytest.raises(EngineError):
            engine.ask([{"role": "user", "content": "Hi"}], 1)
        assert not engine.alive


def test_the_engine_ends_when_its_owner_is_killed(model, tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[2]); from test_evaluation import *\n"
        "engine = Engine(Path(sys.argv[1]), BACKBONE, settings(1))\n"
        "print(engine._process.pid, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(model), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    engine = psutil.Process(int(owner.stdout.readline()))
    time.sleep(1)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    psutil.wait_procs([engine], timeout=30)
    assert not engine.is_running()
