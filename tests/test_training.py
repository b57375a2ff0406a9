"""From settings to an exported model: reward, verl's configuration, and real runs through verl and vLLM."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading

import pandas as pd
import psutil
import pytest
from omegaconf import DictConfig, OmegaConf
from small_runs import CATALOGUES, METHODS, compose, nothing_left_behind, small, start
from waiting import LIMIT, until

from egpo.common.errors import UserError
from egpo.runtime import lease
from egpo.training import checkpoints, process, progress
from egpo.training.launch import total_steps, train
from egpo.training.limits import Limits
from egpo.training.prepare import prepare
from egpo.training.settings import check
from egpo.verl_plugin.reward import compute_score
from egpo.verl_plugin.verifier_process import VerifierProcess, answers_equivalent_in_time

# --- reward -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "truth", "correct"),
    [
        (r"47+38=85. \boxed{85}", "85", True),
        (r"47+38=85. \boxed{84}", "85", False),
        ("47+38=85", "85", False),
        ("", "85", False),
        (r"\boxed{85} or \boxed{84}", "85", False),
        (r"\boxed{84}, no: \boxed{85}", "85", True),
        (r"\boxed{\frac{1}{2}}", r"\dfrac12", True),
        (r"\boxed{0.5}", r"\frac{1}{2}", True),
        (r"\boxed{85", "85", False),
        (r"\boxed{}", "85", False),
        (r"\boxed{85}\boxed{8", "85", True),
        (r"\boxed{x^2 + 1}", "1+x^2", True),
    ],
)
def test_reward(response, truth, correct):
    assert compute_score("any", response, truth) == {"score": 1.0 if correct else -1.0, "acc": float(correct)}


def test_reward_in_a_thread_as_verl_calls_it():
    found = []
    thread = threading.Thread(target=lambda: found.append(compute_score("any", r"\boxed{\sqrt{4}}", "2")))
    thread.start()
    thread.join()
    assert found == [{"score": 1.0, "acc": 1.0}]


def test_a_verifier_that_hangs_or_dies_answers_false_and_is_replaced(monkeypatch):
    verifier = VerifierProcess()
    assert verifier.equivalent("0.5", "1/2")
    os.kill(verifier._process.pid, signal.SIGSTOP)  # hangs as sympy would
    monkeypatch.setattr("egpo.verl_plugin.verifier_process.SECONDS", 0.5)
    assert not verifier.equivalent("0.5", "1/2")
    monkeypatch.undo()
    assert verifier.equivalent("0.5", "1/2")
    verifier._process.kill()
    verifier._process.wait()
    assert not verifier.equivalent("0.5", "1/2")
    assert verifier.equivalent("0.5", "1/2")
    verifier.stop()


def test_equal_strings_need_no_verifier(monkeypatch):
    monkeypatch.setattr(VerifierProcess, "equivalent", lambda *_: pytest.fail("asked the verifier"))
    assert answers_equivalent_in_time(" $85$ ", "85")


# --- settings -----------------------------------------------------------------------------------------


def test_verl_accepts_every_method_on_a_cpu():
    """For the paper's matrix see test_memory.py."""
    catalogue = CATALOGUES["demo"]
    training = catalogue.experiment.training
    for backbone in catalogue.backbones.values():
        for method in METHODS.values():
            config = compose(training, method, backbone)
            check(config)
            assert config.algorithm.egpo == method.calibration.model_dump()
            actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
            assert (actor.clip_ratio_low, actor.clip_ratio_high) == (method.clip_ratio_low, method.clip_ratio_high)
            assert config.algorithm.rollout_correction.bypass_mode is False
            assert rollout.n == training.rollouts_per_prompt and rollout.max_model_len <= backbone.max_model_len
            assert config.data.train_batch_size == actor.ppo_mini_batch_size == training.train_batch_size


def test_seed_reaches_data_order_sampler_and_torch():
    demo = CATALOGUES["demo"]
    configs = [
        compose(demo.experiment.training, METHODS["egpo"], demo.backbones["tiny-math"], seed=seed) for seed in (1, 2)
    ]
    flat = [pd.json_normalize(OmegaConf.to_container(config, resolve=True)).iloc[0] for config in configs]
    differing = {key for key in flat[0].index if str(flat[0][key]) != str(flat[1][key])}
    assert differing == {
        "data.seed",
        "actor_rollout_ref.actor.data_loader_seed",
        "actor_rollout_ref.actor.fsdp_config.seed",
        "actor_rollout_ref.rollout.seed",
        "algorithm.egpo_seed",
    }


def with_verl(**keys) -> DictConfig:
    demo = CATALOGUES["demo"]
    training = demo.experiment.training.model_copy(update={"overrides": keys})
    return compose(training, METHODS["egpo"], demo.backbones["tiny-math"])


def test_overrides_take_precedence():
    config = with_verl(**{"trainer.save_freq": 7, "+trainer.new_key": 1})
    assert (config.trainer.save_freq, config.trainer.new_key) == (7, 1)


def test_misspelt_verl_key_is_named():
    with pytest.raises(UserError, match=r"no setting 'trainer.save_frq'.*'trainer.save_freq'.*'\+trainer.save_frq'"):
        with_verl(**{"trainer.save_frq": 7})
    with pytest.raises(UserError, match=r"no setting 'train.er.save_freq'"):
        with_verl(**{"train.er.save_freq": 7})


def test_settings_that_verl_refuses_are_reported():
    with pytest.raises(UserError, match=r"(?s)verl refuses.*loss_agg_mode"):
        check(with_verl(**{"actor_rollout_ref.actor.loss_agg_mode": "mean-token"}))


def test_steps_from_epochs(tmp_path):
    pd.DataFrame({"row": range(9872 // 8)}).to_parquet(tmp_path / "train.parquet")
    paper = CATALOGUES["paper"]
    training = paper.experiment.training.model_copy(update={"train_batch_size": 8})
    config = compose(training, METHODS["grpo"], next(iter(paper.backbones.values())), tmp_path)
    assert total_steps(config) == 770


# --- plug-in ------------------------------------------------------------------------------------------


def python(code: str, **environment: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plugin_imports_little_and_no_cpu_platform_on_a_gpu():
    loaded = python("import sys, verl; print(*sys.modules)", VERL_PLATFORM="").split()
    assert "egpo.verl_plugin.plugin" in loaded
    heavy = {"vllm", "verl.workers.engine"} | {
        "verl.trainer.ppo.v1",
        "egpo.verl_plugin.trainer",
        "egpo.verl_plugin.cpu.platform",
    }
    assert heavy & set(loaded) == set()


def test_plugin_registers_with_the_trainer_and_the_engine_and_never_imports_vllm():
    code = """
        import sys, verl.trainer.ppo.v1
        from egpo.verl_plugin.driver import check_registered
        from verl.utils.device import get_device_name
        check_registered()
        assert "vllm" not in sys.modules
        from verl.workers.engine.fsdp import transformer_impl
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
        print(transformer_impl.logprobs_from_logits.__module__, "packed" in ALL_ATTENTION_FUNCTIONS, get_device_name())
    """
    assert python(code, VERL_PLATFORM="cpu").split()[-3:] == ["egpo.verl_plugin.log_probs", "True", "cpu"]


@pytest.mark.parametrize("kept", [True, False])
def test_sigterm_stays_blocked_when_shared_memory_is_used(kept):
    code = f"""
        import signal
        from multiprocessing.shared_memory import SharedMemory
        from egpo.runtime.processes import keep_sigterm_blocked
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        if {kept}:
            keep_sigterm_blocked()
        memory = SharedMemory(create=True, size=8)
        memory.unlink()
        print(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """
    assert python(code).split() == [str(kept)]


@pytest.mark.slow
def test_missing_registration_is_named():
    code = """
        import verl.trainer.ppo.v1
        from egpo.common.errors import UserError
        from egpo.verl_plugin.driver import check_registered
        try:
            check_registered()
        except UserError as error:
            print(error)
    """
    assert "no advantage estimator 'egpo'" in python(code, VERL_USE_EXTERNAL_PLUGINS="none")


def test_slurms_variables_for_other_vendors_gpus_are_left_out(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "0,1")
    environment = process.environment(with_verl(), "/tmp/folder")
    assert {name for name in environment if name.endswith("VISIBLE_DEVICES")} == {"CUDA_VISIBLE_DEVICES"}


def test_the_launcher_imports_neither_ray_nor_verl():
    code = "import sys, egpo.training.launch, egpo.verl_plugin.cpu.socket; print(*sys.modules)"
    assert {"ray", "verl"}.isdisjoint(python(code).split())


# --- files of a training --------------------------------------------------------------------------------


def test_work_of_other_settings_is_set_aside_whole(inputs, tmp_path):
    out, reports = tmp_path / "out", []
    work = out / "work"
    for number, learning_rate in enumerate((1e-6, 2e-6, 3e-6)):
        with lease.hold(work, print) as held:
            assert prepare(small(inputs, out, "egpo", learning_rate=learning_rate), work, reports.append) == 0
            assert [path.name for path in sorted(work.iterdir()) if path.name != "metrics.jsonl"] == [
                "identity.json",
                "run-id",
            ]
            held.beat()
            assert not held.lost and lease.holder(work)["pid"] == os.getpid()
            folder = checkpoints.folder_of(work / "checkpoints", 1) / "actor"
            folder.mkdir(parents=True)
            (folder / "model.pt").write_text(f"weights {number}")
    olds = [out / "work.old-1", out / "work.old-2"]
    assert sorted(path.name for path in out.iterdir()) == ["work", "work.lease", "work.old-1", "work.old-2"]
    assert [(old / "checkpoints/global_step_1/actor/model.pt").read_text() for old in olds] == [
        "weights 0",
        "weights 1",
    ]
    assert reports == [
        "settings, code or inputs differ from those of the checkpoints: starting anew. "
        f"The old work is kept in {old}; once it is not needed: rm -r {old}"
        for old in olds
    ]


def test_work_of_the_same_settings_is_resumed(inputs, tmp_path):
    config, work, reports = small(inputs, tmp_path, "egpo"), tmp_path / "work", []
    assert prepare(config, work, reports.append) == 0
    checkpoints.folder_of(work / "checkpoints", 1).mkdir(parents=True)
    checkpoints.mark_complete(work / "checkpoints", 1)
    assert prepare(small(inputs, tmp_path, "egpo", save_freq=7), work, reports.append) == 1
    assert reports == ["resuming after step 1"]


def test_incomplete_checkpoints_do_not_count(tmp_path):
    for step in (2, 4, 6, 8):
        checkpoints.folder_of(tmp_path, step).mkdir()
    for step in (2, 4, 6):
        checkpoints.mark_complete(tmp_path, step)
    (tmp_path / checkpoints.TRACKER).write_text("")  # killed while writing it
    assert checkpoints.repair(tmp_path, print) == 6
    assert (tmp_path / checkpoints.TRACKER).read_text() == "6"
    assert not checkpoints.folder_of(tmp_path, 8).exists()
    checkpoints.keep_last(tmp_path)
    assert checkpoints.complete_steps(tmp_path) == [4, 6]
    assert checkpoints.repair(tmp_path / "new", print) == 0


@pytest.mark.parametrize(("size", "words"), [(7, "has 7 of 10 bytes"), (None, "is missing")])
def test_a_damaged_checkpoint_does_not_count(tmp_path, size, words):
    for step in (2, 4):
        folder = checkpoints.folder_of(tmp_path, step) / "actor"
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(bytes(10))
        checkpoints.mark_complete(tmp_path, step)
    if size is None:
        (folder / "model.pt").unlink()
    else:
        os.truncate(folder / "model.pt", size)
    said = []
    assert checkpoints.repair(tmp_path, said.append) == 2
    assert said == [f"warning: the checkpoint of step 4 is damaged (actor/model.pt {words}): it does not count"]
    assert not folder.exists()


def test_three_gradients_in_a_row_that_are_not_finite_end_a_training():
    look = progress.NotFinite()
    for norm in (1.0, float("nan"), float("inf"), 1.0, float("nan"), float("nan")):
        look(norm, 1)
    with pytest.raises(UserError, match=r"step 7: the gradient's norm is nan, 3 steps in a row.*learning_rate"):
        look(float("nan"), 7)


def test_metrics_of_repeated_steps_are_removed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = progress.MetricsLog(path, lambda _: None)
    for step in range(5):
        log.log({"a": float(step), "nan": float("nan"), "text": "b"}, step)
    with path.open("a") as file:
        file.write('{"step": 5, "a"')  # killed while writing it
    progress.forget_after(path, 2)
    log.log({"a": 7}, 3)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert lines[-1]["a"] == 7 and set(lines[-1]) == {"step", "time", "a"}


# --- real runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "limits"), [("minutes", Limits(6, LIMIT, LIMIT)), ("stall_minutes", Limits(LIMIT, LIMIT, 6))]
)
def test_limits_end_all_processes(inputs, tmp_path, capfd, key, limits):
    with (
        nothing_left_behind(os.getpid(), at_once=True),
        pytest.raises(UserError, match=rf"was stopped.*jobs\.train\.{key} "),
    ):
        train(small(inputs, tmp_path, "egpo"), tmp_path, tmp_path / "work", limits, lambda _: None)
    stood = re.search(r"--- process \d+: .*egpo\.verl_plugin\.driver", capfd.readouterr().err)
    assert bool(stood) == (key == "stall_minutes")


def wait_for_ray(process: subprocess.Popen) -> None:
    """Until a process of Ray runs below this one."""

    def runs() -> bool:
        assert process.poll() is None, "the training ended before Ray started"
        return any("raylet" in child.name() for child in psutil.Process(process.pid).children(recursive=True))

    until("Ray", runs, every=0.2)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_signals_end_all_processes(inputs, tmp_path, number):
    process = start(small(inputs, tmp_path, "egpo"), tmp_path)
    with nothing_left_behind(process.pid):
        wait_for_ray(process)
        process.send_signal(number)
        process.wait(LIMIT)


def test_a_killed_guard_leaves_no_process(inputs, tmp_path):
    process = start(small(inputs, tmp_path, "egpo"), tmp_path)
    with nothing_left_behind(process.pid):
        wait_for_ray(process)
        (guard,) = psutil.Process(process.pid).children()
        guard.kill()
        assert process.wait(LIMIT) != 0


# --- Ray ------------------------------------------------------------------------------------------------


def mocked_init(monkeypatch, errors: list[str]) -> list[dict]:
    """A mock of ray.init that fails with each of the errors, one call after the other; returns the calls."""
    import ray

    calls: list[dict] = []

    def init(**settings) -> None:
        calls.append(settings)
        if len(calls) <= len(errors):
            raise Exception(errors[len(calls) - 1])

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return calls


SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


def test_ray_is_started_again_where_it_was_too_slow(monkeypatch):
    from egpo.verl_plugin import driver

    calls = mocked_init(monkeypatch, [SLOW] * 2)
    driver._init({"num_cpus": 6})
    assert calls == [{"num_cpus": 6}] * 3
    for errors, attempts in (([SLOW] * 9, driver.ATTEMPTS), (["another error"], 1)):
        calls = mocked_init(monkeypatch, errors)
        with pytest.raises(Exception, match=errors[0][:20]):
            driver._init({})
        assert len(calls) == attempts
