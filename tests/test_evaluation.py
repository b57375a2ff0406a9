"""Synthetic benchmarks, evalscope with vLLM behind it on a tiny random model, records and statistics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from typing import ClassVar

import numpy as np
import pandas as pd
import psutil
import pytest
from evaluation_runs import BACKBONE, SUBJECTS, Run, benchmark, make_model, settings, written
from waiting import LIMIT

from egpo.analysis.statistics import accuracy, clustered_se, correctness, sd_over_trials
from egpo.common.answer_letters import chosen_letter
from egpo.common.answers import extract_boxed
from egpo.common.errors import UserError
from egpo.config.benchmarks import Judge
from egpo.evaluation.records import STATUS, outcome, trial_rows
from egpo.evaluation.run import evaluate
from egpo.evaluation.trials import list_trials
from egpo.inference.decoding import hashes, model_files
from egpo.inference.engine import Answer, Engine, EngineError, request_seed
from egpo.synthetic.benchmark import FORMATS, draw_items, write_benchmark
from egpo.synthetic.choices import choice_prompt
from egpo.synthetic.problems import LEVELS, draw_problem

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


@pytest.mark.parametrize("adapter", FORMATS)
def test_evalscope_reads_the_synthetic_formats(adapter, tmp_path):
    from egpo.evaluation.harness import read_samples

    made = benchmark(adapter, 21)
    write_benchmark(made, tmp_path)
    samples = [sample for subset in read_samples(adapter, made, tmp_path).values() for sample in subset]
    assert len(samples) == 21
    answers = {item.text: item.answer for item in draw_items(made.source, 21)}
    for sample in samples:
        prompt = sample.input[0].content.split("\n\nAnswer the following multiple choice")[-1]
        (text,) = [text for text in answers if f"{text}\n" in prompt]
        right = answers.pop(text)
        if adapter == "mmlu":
            assert sample.choices["ABCD".index(sample.target)] == right
        else:
            assert (extract_boxed(sample.target) or sample.target) == right
    assert not answers
    shots = {"gsm8k": "ANSWER: \\boxed{", "mmlu": "\nANSWER: "}
    if adapter in shots:
        assert samples[0].input[0].content.count(shots[adapter]) == made.num_fewshot


def test_the_warm_up_asks_for_letters_in_the_words_of_evalscope(tmp_path):
    from egpo.evaluation.harness import read_samples

    made = benchmark("mmlu", 21).model_copy(update={"num_fewshot": 0})
    write_benchmark(made, tmp_path)
    samples = [sample for subset in read_samples("mmlu", made, tmp_path).values() for sample in subset]
    asked = {tuple((message.role, message.content) for message in sample.input) for sample in samples}
    ours = [choice_prompt(item) for item in draw_items(made.source, 21)]
    assert asked == {tuple((message["role"], message["content"]) for message in messages) for messages in ours}


def test_a_folder_is_not_taken_for_another_of_the_same_name(tmp_path):
    """datasets' own cache would: it knows a folder by its name."""
    from egpo.evaluation.harness import read_samples

    first, second = benchmark("gsm8k", 4), benchmark("gsm8k", 4, {"kind": "synthetic", "seed": 6, "templates": "sums"})
    texts = []
    for place, made in (("one", first), ("other", second), ("one", second)):
        write_benchmark(made, tmp_path / place / "gsm8k")
        samples = read_samples("gsm8k", made, tmp_path / place / "gsm8k", prompts=False)
        texts.append([str(sample.input) for sample in samples["main"]])
    assert texts[0] != texts[1] == texts[2]


def test_a_subject_that_is_missing_is_named(tmp_path):
    from egpo.evaluation.harness import read_samples

    made = benchmark("mmlu", 21)
    write_benchmark(made, tmp_path)
    more = made.model_copy(update={"subsets": (*SUBJECTS, "high_school_biology")})
    with pytest.raises(UserError, match=r"mine\.subsets: the data has no question of high_school_biology\."):
        read_samples("mine", more, tmp_path)


def test_a_wrong_number_of_questions_names_the_key(tmp_path):
    from egpo.evaluation.harness import read_samples

    write_benchmark(benchmark("math_500", 20), tmp_path)
    with pytest.raises(UserError, match=r"benchmarks\.yaml: mine\.num_questions: 21.* reads 20 questions"):
        read_samples("mine", benchmark("math_500", 21), tmp_path)
    with pytest.raises(UserError, match="mine: evalscope cannot read its 'gsm8k'"):
        read_samples("mine", benchmark("gsm8k", 20), tmp_path)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"adapter.*'gpqa'.*gsm8k, math_500"):
        write_benchmark(benchmark("gpqa", 3), tmp_path)


def test_a_judge_without_its_key_is_refused(monkeypatch):
    from egpo.evaluation.harness import judge_settings

    chosen = {"model": "some-model", "url": "http://127.0.0.1:9/v1", "key_variable": "NO_SUCH_KEY"}
    made = benchmark("minerva_math", 5).model_copy(update={"judge": Judge.model_validate(chosen)})
    with pytest.raises(UserError, match=r"minerva\.judge\.key_variable: the environment has no NO_SUCH_KEY"):
        judge_settings("minerva", made)
    monkeypatch.setenv("NO_SUCH_KEY", "a secret")
    assert judge_settings("minerva", made)["models"][0]["model_id"] == "some-model"
    assert judge_settings("minerva", benchmark("minerva_math", 5)) == {"strategy": "rule"}


class MockJudge(BaseHTTPRequestHandler):
    """A mock of an OpenAI-compatible endpoint, which gives every request the same reply."""

    reply = ""
    keys: ClassVar[list[str | None]] = []

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.keys.append(self.headers["authorization"])
        message = {"role": "assistant", "content": self.reply}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"]}
        data = json.dumps({**body, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Certain:
    """A mock of the engine: one wrong answer to everything."""

    def ask(self, messages, seed):
        future = Future()
        future.set_result(Answer(text="so it is \\boxed{5}", prompt_tokens=9, tokens=4))
        return future


@pytest.mark.parametrize("adapter", FORMATS)
def test_what_is_asked_ahead_is_what_evalscope_asks(adapter, tmp_path):
    from egpo.evaluation.harness import AskedAhead, as_messages, read_samples, run_trial
    from egpo.evaluation.scoring import lasting_scorers

    class Counted(Certain):
        asked = 0

        def ask(self, messages, seed):
            self.asked += 1
            return super().ask(messages, seed)

    made, engine = benchmark(adapter, 12), Counted()
    write_benchmark(made, tmp_path / "data")
    questions = tmp_path / "data" / f"{FORMATS[adapter].questions}.jsonl"
    first, _, *others = questions.read_text().splitlines(keepends=True)
    questions.write_text("".join([first, first, *others]))  # MMLU has some twice
    samples = read_samples(adapter, made, tmp_path / "data")
    ahead = AskedAhead(engine)
    ahead.ask_ahead([as_messages(sample.input) for part in samples.values() for sample in part], 3)
    assert engine.asked == 12
    with lasting_scorers(1):
        run_trial(ahead, 3, adapter, made, tmp_path / "data", samples, 4, tmp_path / "work")
    assert engine.asked == 12


@pytest.mark.parametrize(
    ("reply", "status"), [('{"reasoning": "", "verdict": "A"}', "scored"), ("I cannot say.", "excluded")]
)
def test_a_judge_decides_in_place_of_the_rules(monkeypatch, tmp_path, reply, status):
    from egpo.evaluation.harness import read_samples, run_trial

    server = HTTPServer(("127.0.0.1", 0), type("Judge", (MockJudge,), {"reply": reply, "keys": []}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MOCK_KEY", "a-secret")
    url = f"http://127.0.0.1:{server.server_port}/v1"
    judge = Judge(model="mock", url=url, key_variable="MOCK_KEY")
    made = benchmark("minerva_math", 3).model_copy(update={"judge": judge})
    write_benchmark(made, tmp_path / "minerva")
    folder = tmp_path / "minerva"
    run_trial(Certain(), 1, "minerva", made, folder, read_samples("minerva", made, folder), 4, tmp_path / "work")
    server.shutdown()
    rows = list(trial_rows("minerva", "minerva_math", {"default": 3}, tmp_path / "work", 1, 1))
    assert [(row["status"], row["correct"]) for row in rows] == [(status, status == "scored")] * 3
    assert not any(row["verified"] for row in rows)
    assert server.RequestHandlerClass.keys == ["Bearer a-secret"] * 3
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"a-secret" in file.read_bytes()]


# --- reference answers in place of a model's --------------------------------------------------------


def test_references_score_everything_and_shuffled_ones_next_to_nothing(tmp_path):
    from egpo.evaluation.references import score_references

    made = {name: benchmark(name, 21) for name in ("math_500", "gsm8k", "mmlu", "minerva_math")}
    for name, one in made.items():
        write_benchmark(one, tmp_path / name)
    lines = []
    score_references(made, {name: tmp_path / name for name in made}, tmp_path / "references.parquet", lines.append)
    rows = pd.read_parquet(tmp_path / "references.parquet")
    own, other = (rows[rows["trial"] == trial] for trial in (1, 2))
    assert own["correct"].all() and own["verified"].eq(True).all() and len(own) == len(other) == 84
    texts = own.set_index(["benchmark", "question"])["target"]
    assert set(other["target"]) == set(texts), "only the responses move"
    assert other.loc[other["benchmark"] != "mmlu", "correct"].mean() < 0.2
    assert lines[0].startswith("math_500: 21 of 21 references right, ")


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        (r"The answer is \boxed{B}. This follows from Newton's law.", "B"),
        (r"\boxed{\text{(C)}}", "C"),
        (r"\boxed{D. 12}", "D"),
        ("So the answer is (A).", "A"),
        ("ANSWER: C", "C"),
        ("Answer: **B**", "B"),
        ("I choose **(D)** here", "D"),
        ("It must be so.\nB", "B"),
        ("It must be so.\n(B) twelve", "B"),
        ("answer: A\nno, answer: C", "C"),
        (r"answer: A, so \boxed{12}", "A"),
        ("A man walks", None),
        ("The answer is Apple", None),
        ("", None),
    ],
)
def test_the_letter_that_a_response_chooses(response, letter):
    assert chosen_letter(response) == letter


# --- records and statistics ----------------------------------------------------------------------


def prediction(text: str = "5", stop: str = "stop", error: str | None = None) -> dict:
    message = {"content": text}
    usage = {"input_tokens": 9, "output_tokens": len(text)}
    return {"model_output": {"choices": [{"message": message, "stop_reason": stop}], "usage": usage, "error": error}}


def review(value: dict, status: str = "success", name: str | None = "accuracy") -> dict:
    score = {"value": value, "status": status, "main_score_name": name, "extracted_prediction": "5"}
    return {"sample_score": {"score": score}}


RIGHT = review({"accuracy": 1.0})


@pytest.mark.parametrize(
    ("status", "asked", "judged"),
    [
        ("scored", prediction(), RIGHT),
        ("scored", prediction(), review({"acc": 1.0}, name=None)),  # as evalscope writes aime24
        ("excluded", prediction(), review({"acc": 1.0, "other": 0.0}, name=None)),
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
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def run(model, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("evaluation")
    benchmarks = {"sums": benchmark("math_500", 15), "stories": benchmark("gsm8k", 10), "choices": benchmark("mmlu", 6)}
    folders = {name: folder / name for name in (*benchmarks, "long")}
    # One that leaves 8 to 23 tokens for its answer, one that leaves none.
    benchmarks["long"] = written(folders["long"], ["What is 1 + 1?", "1 " * 157, "What is 1 + 1? " * 300])
    return Run(model, benchmarks, folders, folder / "out")


@pytest.fixture(scope="module")
def first(run) -> pd.DataFrame:
    return run(settings())[0]


def test_every_question_has_a_record_in_every_trial(run, first):
    sizes = first.groupby(["benchmark", "trial"]).size().to_dict()
    assert sizes == {(name, trial): made.num_questions for name, made in run.benchmarks.items() for trial in (1, 2)}
    assert not first.duplicated(["benchmark", "question", "trial"]).any()
    assert set(first["status"]) <= set(STATUS)
    manifest = json.loads((run.out / "manifest.json").read_text())
    assert manifest["results"]["sums"]["records"] == 30
    assert manifest["inputs"][str(run.model / "model.safetensors")]


def test_a_prompt_beyond_the_context_is_not_sent_and_counts_as_wrong(first):
    long = first[first["benchmark"] == "long"].sort_values(["trial", "question"])
    assert long["status"].tolist() == ["scored", "scored", "overflow"] * 2
    assert long["response"].isna().tolist() == [False, False, True] * 2
    assert not long["correct"].any()
    assert long["prompt_tokens"].iloc[2] > BACKBONE.max_model_len


def test_a_prompt_that_leaves_less_gets_a_shorter_answer(first):
    short = first[(first["benchmark"] == "long") & (first["question"] == 1)]
    room = BACKBONE.max_model_len - short["prompt_tokens"].iloc[0]
    assert BACKBONE.min_evaluation_length <= room < BACKBONE.max_evaluation_length
    assert (short["response_tokens"] <= room).all()


def test_trials_differ_and_answers_keep_to_their_budget(first):
    answered = first[first["status"] == "scored"]
    texts = answered.pivot(index=["benchmark", "question"], columns="trial", values="response")
    assert (texts[1] != texts[2]).all()
    assert answered["response_tokens"].max() == BACKBONE.max_evaluation_length
    budget = (BACKBONE.max_model_len - answered["prompt_tokens"]).clip(upper=BACKBONE.max_evaluation_length)
    assert (answered["truncated"] == (answered["response_tokens"] == budget)).all()


THEN = """
def then(engine):
    chat = [{"role": "user", "content": "What is 1 + 1?"}]
    one, other = (engine.ask(chat, 1, logprobs).result() for logprobs in (False, True))
    report(f"then: {one.text == other.text}, {len(one.logprobs)}, {len(other.logprobs) == other.tokens}")
    raise RuntimeError("after the trials")
"""


@pytest.mark.slow
def test_killed_trials_start_over_and_max_num_seqs_changes_nothing(run, first):
    """Nor does what the model answers then, or its failure."""
    killed = [run.out / "work" / name / "seed-2" for name in run.benchmarks]
    for folder in killed:  # as a kill leaves them: without the note, with some of evalscope's lines
        (folder / "finished.json").unlink()
        for path in folder.rglob("predictions/**/*.jsonl"):
            path.write_text(path.read_text()[:500])
    again, reported = run(settings(max_num_seqs=3), THEN)
    assert "then: True, 0, True" in reported and "RuntimeError: after the trials" in reported
    assert "4 of 8 trials are finished already" in reported
    pd.testing.assert_frame_equal(again, first)


def test_a_lost_line_stays_in_the_denominator(run, first):
    folder = run.work / "stories" / "seed-1" / "evalscope"
    (path,) = folder.rglob("reviews/**/*.jsonl")
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    lost = json.loads(lines[3])["index"]
    path.write_text("".join(lines[:3] + lines[4:]))
    rows = list(trial_rows("stories", "gsm8k", {"main": 10}, folder, 1, 1))
    path.write_text(text)
    assert [row["status"] for row in rows] == ["missing" if row["question"] == lost else "scored" for row in rows]
    assert len(rows) == 10 and not rows[lost]["correct"]


def test_the_second_opinion_is_that_of_the_trainings_verifier(first):
    answered = first[first["status"] == "scored"].set_index("benchmark")
    letters = answered.loc["choices"]
    expected = [chosen_letter(response) for response in letters["response"]]
    assert list(letters["verified"].isna()) == [letter is None for letter in expected]
    assert answered.loc[["sums", "stories"], "verified"].notna().all()
    assert set(first["target"].dropna()) >= {"2", "A"}


def test_accuracy_is_evalscopes_own_where_it_lost_nothing(run, first):
    reports = [json.loads(path.read_text()) for path in run.work.rglob("reports/**/*.json")]
    assert len(reports) == 8
    accuracy = first[first["status"] == "scored"].groupby("benchmark")["correct"].mean()
    for name, adapter in (("stories", "gsm8k"), ("choices", "mmlu")):
        mine = [report["metrics"][0]["score"] for report in reports if report["dataset_name"] == adapter]
        assert sum(mine) / len(mine) == pytest.approx(accuracy[name], abs=1e-4)


def test_finished_trials_count_for_the_same_model_alone(run, first):
    def finished(model: dict[str, str], code: str = "code") -> int:
        trials = list_trials(model, BACKBONE, run.benchmarks, run.folders, settings(3), run.work, code)
        return sum(trial.finished for trial in trials)

    same = hashes(model_files(run.model))
    assert finished(same) == 8
    assert finished(same, "other code") == 0
    assert finished({**same, str(run.model / "model.safetensors"): "other weights"}) == 0


def test_the_seed_of_a_request_depends_on_question_and_trial():
    ask = [{"role": "user", "content": "What is 1 + 1?"}]
    other = [{"role": "user", "content": "What is 1 + 2?"}]
    assert request_seed(1, ask) == request_seed(1, list(ask))
    assert len({request_seed(1, ask), request_seed(2, ask), request_seed(1, other)}) == 3


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.json"):
        evaluate(tmp_path, BACKBONE, {}, {}, settings(1), tmp_path / "work", tmp_path / "out", "", print)


@pytest.mark.slow
def test_more_prompts_at_once_than_one_step_takes(model):
    """Our arguments keep vLLM from reading a prompt in parts: see engine_arguments."""
    chats = [[{"role": "user", "content": f"{number} " + "1 " * 150}] for number in range(100, 140)]
    with Engine(model, BACKBONE, settings(len(chats))) as engine:
        engine.wait()
        answers = [future.result(timeout=LIMIT) for future in [engine.ask(chat, 1) for chat in chats]]
    assert sum(answer.prompt_tokens for answer in answers) > 3 * 4096
    assert [answer.error for answer in answers] == [None] * len(chats)


def test_a_dead_engine_is_an_error_and_not_a_wait(model):
    with Engine(model, BACKBONE, settings(1)) as engine:
        due = engine.ask([{"role": "user", "content": "Hi"}], 1)
        engine._process.kill()
        with pytest.raises(EngineError):
            due.result(timeout=LIMIT)
        with pytest.raises(EngineError):
            engine.wait()
        with pytest.raises(EngineError):
            engine.ask([{"role": "user", "content": "Hi"}], 1)
        assert not engine.alive


def test_the_engine_ends_when_its_owner_is_killed(model, tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from evaluation_runs import *; from egpo.inference.engine import Engine\n"
        "engine = Engine(Path(sys.argv[1]), BACKBONE, settings())\n"
        f"print(engine._process.pid, flush=True); time.sleep({2 * LIMIT})"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(model), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    engine = psutil.Process(int(owner.stdout.readline()))
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    psutil.wait_procs([engine], timeout=LIMIT)
    assert not engine.is_running()
