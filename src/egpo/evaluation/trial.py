"""One benchmark, one seed, through evalscope: its prompts, its answer extraction, its rule scores.

Importing this module imports evalscope, which takes seconds: egpo.evaluation.run does it while vLLM loads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
from evalscope import TaskConfig, run_task
from evalscope.api.dataset.hub import DatasetHub
from evalscope.api.messages import ChatMessage, ChatMessageAssistant
from evalscope.api.model import ChatCompletionChoice, GenerateConfig, ModelAPI, ModelOutput, ModelUsage
from evalscope.api.registry import get_benchmark

from egpo.common.errors import UserError
from egpo.config.benchmarks import Benchmark
from egpo.config.evaluation import Evaluation
from egpo.evaluation.records import MODEL
from egpo.inference.engine import Answer, Engine, request_seed

# evalscope lets ModelScope run Python files that come with a dataset, and has no option against it.
DatasetHub.trust_remote = property(lambda _: False, lambda *_: None)
# One line per parsed answer, to say that evalscope keeps time itself.
logging.getLogger("math_verify").setLevel(logging.ERROR)


def model_output(answer: Answer) -> ModelOutput:
    """evalscope's form of an answer. One that failed has no text, and says so in `error` and `metadata`."""
    if answer.error is not None:
        reason = "model_length" if answer.overflow else "unknown"
    else:
        reason = "max_tokens" if answer.truncated else "stop"
    message = ChatMessageAssistant(content=answer.text, model=MODEL, source="generate")
    return ModelOutput(
        model=MODEL,
        choices=[ChatCompletionChoice(message=message, stop_reason=reason)],
        usage=ModelUsage(
            input_tokens=answer.prompt_tokens,
            output_tokens=answer.tokens,
            total_tokens=answer.prompt_tokens + answer.tokens,
        ),
        error=answer.error,
    )


class TrialModel(ModelAPI):
    """The engine as evalscope sees it in one trial; `tick` is called after each answer, in any thread."""

    def __init__(self, engine: Engine, seed: int, tick: Callable[[], None]) -> None:
        super().__init__(model_name=MODEL)
        self._engine = engine
        self._seed = seed
        self._tick = tick

    def generate(self, input: list[ChatMessage], tools: Any, tool_choice: Any, config: GenerateConfig) -> ModelOutput:
        messages = [{"role": message.role, "content": message.text} for message in input]
        answer = self._engine.ask(messages, request_seed(self._seed, messages)).result()
        self._tick()
        return model_output(answer)


@contextlib.contextmanager
def _reading(folder: Path | None) -> Iterator[None]:
    """While evalscope reads a local folder, datasets has a cache of its own.

    Its common one knows a local folder by the last part of its path alone: a second folder `gsm8k`, or other content
    of the same one, would silently be read as the first.
    """
    if folder is None:
        yield
        return
    before = datasets.config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory(prefix="egpo-datasets-") as cache:
        datasets.config.HF_DATASETS_CACHE = Path(cache)
        try:
            yield
        finally:
            datasets.config.HF_DATASETS_CACHE = before


def judge(name: str, benchmark: Benchmark) -> dict[str, Any]:
    """evalscope's settings for its rules, or for the judge of the configuration. Raises UserError without its key."""
    chosen = benchmark.judge
    if chosen is None:
        return {"strategy": "rule"}
    if chosen.key_variable not in os.environ:
        raise UserError(
            f"config/benchmarks.yaml: {name}.judge.key_variable: the environment has no {chosen.key_variable}. Set it "
            "to the key of the judge's endpoint, or take the judge out."
        )
    model = {
        "model_id": chosen.model,
        "api_url": chosen.url,
        "api_key": os.environ[chosen.key_variable],
        "eval_type": "openai_api",
        "generation_config": {"temperature": 0.0},
    }
    return {"strategy": "llm", "models": [model]}


def task(
    model: ModelAPI | str, name: str, benchmark: Benchmark, folder: Path | None, max_num_seqs: int, work: Path
) -> TaskConfig:
    """evalscope's task for one benchmark."""
    arguments: dict[str, Any] = {"few_shot_num": benchmark.num_fewshot}
    if folder is not None:
        arguments["local_path"] = str(folder.resolve())
    if benchmark.subsets:
        arguments["subset_list"] = list(benchmark.subsets)
    if benchmark.prompt is not None:
        arguments["prompt_template"] = benchmark.prompt
    return TaskConfig(
        model=model,
        model_id=MODEL,
        eval_type="openai_api",
        datasets=[benchmark.adapter],
        dataset_args={benchmark.adapter: arguments},
        eval_batch_size=max_num_seqs,
        judge=judge(name, benchmark),
        # One odd sample must not stop the others. It is counted all the same: see egpo.evaluation.records.
        ignore_errors=True,
        work_dir=str(work),
        no_timestamp=True,
        # It would seed torch, which nothing here uses; sampling has the seeds of `request_seed`.
        seed=None,
        collect_perf=False,
    )


def read_samples(name: str, benchmark: Benchmark, folder: Path | None, prompts: bool = True) -> dict[str, Any]:
    """evalscope's samples of each subset: their input is the whole prompt, or, without `prompts`, the bare question.

    Raises UserError when it cannot read them, or when they are not as many as the configuration says.
    """
    where = f"config/benchmarks.yaml: {name}"
    try:
        adapter = get_benchmark(benchmark.adapter, task(MODEL, name, benchmark, folder, 1, Path()))
        with _reading(folder):
            samples = dict((adapter.load_dataset() if prompts else adapter.load()[0]).items())
    except UserError:
        raise
    except Exception as error:
        traceback.print_exc()
        place = f"in {folder} " if folder is not None else ""
        raise UserError(
            f"{where}: evalscope cannot read its '{benchmark.adapter}' {place}({type(error).__name__}: {error}). "
            f"The data must be there in the format that evalscope's {benchmark.adapter} reads."
        ) from error
    counts = {subset: len(part) for subset, part in samples.items()}
    # evalscope passes over a subset that the data does not have.
    if missing := [subset for subset in benchmark.subsets if not counts.get(subset)]:
        raise UserError(f"{where}.subsets: the data has no question of {', '.join(missing)}.")
    if sum(counts.values()) != benchmark.num_questions:
        found = ", ".join(f"{subset} {count}" for subset, count in counts.items())
        raise UserError(
            f"{where}.num_questions: {benchmark.num_questions}, but evalscope reads {sum(counts.values())} questions "
            f"({found}). All accuracies are counted over `num_questions`: correct it, or the data, or `subsets`."
        )
    return samples


def count_questions(name: str, benchmark: Benchmark, folder: Path | None) -> dict[str, int]:
    """Number of questions that evalscope reads in each subset; raises as `read_samples` does."""
    return {subset: len(samples) for subset, samples in read_samples(name, benchmark, folder).items()}


def run_trial(
    name: str,
    benchmark: Benchmark,
    folder: Path | None,
    settings: Evaluation,
    engine: Engine,
    seed: int,
    work: Path,
    tick: Callable[[], None],
) -> None:
    """Ask and score every question of a benchmark once; evalscope's files appear in the empty folder `work`."""
    model = TrialModel(engine, seed, tick)
    with _reading(folder):
        run_task(task(model, name, benchmark, folder, settings.max_num_seqs, work))
