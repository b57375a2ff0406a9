"""One trial through evalscope: its prompts, its extraction of answers, its scores.

Importing this module imports evalscope, which takes seconds: egpo.evaluation.run does so while vLLM loads.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import datasets
from evalscope import TaskConfig
from evalscope.api.dataset.hub import DatasetHub
from evalscope.api.messages import ChatMessage, ChatMessageAssistant
from evalscope.api.model import ChatCompletionChoice, GenerateConfig, ModelAPI, ModelOutput, ModelUsage
from evalscope.api.model.lazy_model import LazyModel
from evalscope.api.registry import create_evaluator, get_benchmark
from evalscope.utils.io_utils import OutputsStructure

from egpo.common.errors import UserError
from egpo.config.benchmarks import Benchmark
from egpo.evaluation.records import MODEL
from egpo.inference.engine import Answer, Messages, request_seed
from egpo.inference.engines import Engines

# evalscope lets ModelScope run Python files that come with a dataset, and has no option to prevent it.
DatasetHub.trust_remote = property(lambda _: False, lambda *_: None)
# It would log one line per parsed answer, to say that it has no time-out: evalscope keeps time itself.
logging.getLogger("math_verify").setLevel(logging.ERROR)


Samples = dict[str, Any]  # evalscope's dataset of samples of each subset


def model_output(answer: Answer) -> ModelOutput:
    """An answer as evalscope's type. A failed one has no text, and its reason is in `error`."""
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


class Answering(Protocol):
    """What answers prompts: `Engines`, or prepared responses."""

    def ask(self, messages: Messages, seed: int) -> Future[Answer]: ...


def as_messages(prompt: str | list[ChatMessage]) -> Messages:
    """A prompt of evalscope as an engine takes it."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": message.role, "content": message.text} for message in prompt]


class AskedAhead:
    """Engines that are asked all questions of all trials before evalscope asks them.

    So none is idle while evalscope scores, or while a trial waits for its longest answer. A question that a benchmark
    has twice is asked twice ahead: asked later, it would wait behind all other trials, and its trial with it.
    """

    def __init__(self, engines: Engines) -> None:
        self.engines = engines
        self._answers: dict[int, list[Future[Answer]]] = {}  # by the seed of the request, which the prompt is part of

    def ask_ahead(self, prompts: list[Messages], seed: int) -> None:
        """Ask all of a benchmark's prompts with the seed of a trial."""
        for prompt in prompts:
            mine = request_seed(seed, prompt)
            self._answers.setdefault(mine, []).append(self.engines.ask(prompt, mine))

    def ask(self, messages: Messages, seed: int) -> Future[Answer]:
        """The answer that was asked for ahead, or a new request."""
        try:
            return self._answers[seed].pop()
        except (KeyError, IndexError):  # a trial that is run again
            return self.engines.ask(messages, seed)


class TrialModel(ModelAPI):
    """The engine as evalscope's model in one trial; `tick` is called after each answer, in any thread."""

    def __init__(self, engine: Answering, seed: int, tick: Callable[[], None]) -> None:
        super().__init__(model_name=MODEL)
        self._engine = engine
        self._seed = seed
        self._tick = tick

    def generate(self, input: list[ChatMessage], tools: Any, tool_choice: Any, config: GenerateConfig) -> ModelOutput:
        messages = as_messages(input)
        answer = self._engine.ask(messages, request_seed(self._seed, messages)).result()
        self._tick()
        return model_output(answer)


@contextlib.contextmanager
def _separate_cache() -> Iterator[None]:
    """Give datasets a temporary cache while evalscope reads a local folder.

    The shared cache identifies a local folder by the last part of its path: a second folder `gsm8k`, or changed content
    of the same one, would silently be read as the first.
    """
    before = datasets.config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory(prefix="egpo-datasets-") as cache:
        datasets.config.HF_DATASETS_CACHE = Path(cache)
        try:
            yield
        finally:
            datasets.config.HF_DATASETS_CACHE = before


def judge_settings(name: str, benchmark: Benchmark) -> dict[str, Any]:
    """evalscope's settings for scores by its rules, or by the judge of the configuration.

    Raises:
        UserError: the environment has no key for the judge.
    """
    judge = benchmark.judge
    if judge is None:
        return {"strategy": "rule"}
    if judge.key_variable not in os.environ:
        raise UserError(
            f"config/benchmarks.yaml: {name}.judge.key_variable: the environment has no {judge.key_variable}. Set it "
            "to the key of the judge's endpoint, or remove the judge."
        )
    model = {
        "model_id": judge.model,
        "api_url": judge.url,
        "api_key": os.environ[judge.key_variable],
        "eval_type": "openai_api",
        "generation_config": {"temperature": 0.0},
    }
    return {"strategy": "llm", "models": [model]}


def task(
    model: ModelAPI | str, name: str, benchmark: Benchmark, folder: Path, max_num_seqs: int, work: Path
) -> TaskConfig:
    """evalscope's task for one benchmark."""
    arguments: dict[str, Any] = {"few_shot_num": benchmark.num_fewshot, "local_path": str(folder.resolve())}
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
        judge=judge_settings(name, benchmark),
        # One failed sample must not stop the others. It still counts: see egpo.evaluation.records.
        ignore_errors=True,
        work_dir=str(work),
        no_timestamp=True,
        # It would seed torch, which is not used here; the seeds of sampling come from `request_seed`.
        seed=None,
        collect_perf=False,
    )


def read_samples(name: str, benchmark: Benchmark, folder: Path, prompts: bool = True) -> Samples:
    """evalscope's samples of each subset.

    Args:
        folder: the data of the benchmark.
        prompts: whether a sample's input is the whole prompt, or the bare question.

    Raises:
        UserError: evalscope cannot read the data, or their number is not that of the configuration.
    """
    where = f"config/benchmarks.yaml: {name}"
    try:
        adapter = get_benchmark(benchmark.adapter, task(MODEL, name, benchmark, folder, 1, Path()))
        with _separate_cache():
            samples = dict((adapter.load_dataset() if prompts else adapter.load()[0]).items())
    except UserError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise UserError(
            f"{where}: evalscope cannot read its '{benchmark.adapter}' in {folder} ({type(error).__name__}: {error}). "
            f"The data must be there in the format that evalscope's {benchmark.adapter} reads."
        ) from error
    counts = {subset: len(part) for subset, part in samples.items()}
    # evalscope skips a subset that the data does not have.
    if missing := [subset for subset in benchmark.subsets if not counts.get(subset)]:
        raise UserError(f"{where}.subsets: the data has no question of {', '.join(missing)}.")
    if sum(counts.values()) != benchmark.num_questions:
        found = ", ".join(f"{subset} {count}" for subset, count in counts.items())
        raise UserError(
            f"{where}.num_questions: {benchmark.num_questions}, but evalscope reads {sum(counts.values())} questions "
            f"({found}). All accuracies are counted over `num_questions`: correct it, or the data, or `subsets`."
        )
    return samples


def run_trial(
    engine: Answering,
    seed: int,
    name: str,
    benchmark: Benchmark,
    folder: Path,
    samples: Samples,
    max_num_seqs: int,
    work: Path,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Ask and score every question of a benchmark once; evalscope writes its files to the empty folder `work`.

    This is evalscope's `run_task` without what took most of its time: a page of charts, which nobody reads here, and
    reading the benchmark again in every trial.

    Args:
        samples: from `read_samples`.
        tick: called after each answer, in any thread.
    """
    config = task(TrialModel(engine, seed, tick), name, benchmark, folder, max_num_seqs, work)
    adapter: Any = get_benchmark(benchmark.adapter, config)
    adapter.validate_judge_strategy()
    adapter.load_dataset = lambda: copy.deepcopy(samples)
    evaluator = create_evaluator(
        benchmark=adapter, model=LazyModel(config), outputs=OutputsStructure(str(work)), task_config=config
    )
    evaluator.eval()
