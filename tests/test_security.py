"""No code of downloaded files is run, no server is open to others, no secret is in a file. See docs/security.md."""

from __future__ import annotations

import ast
import ipaddress
import json
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from omegaconf import OmegaConf
from small_runs import CATALOGUES, METHODS, compose, small

from egpo.common.answers import answers_equivalent, read_by_math_verify
from egpo.common.paths import ROOT
from egpo.common.provenance import origin
from egpo.config.benchmarks import Judge
from egpo.inference.engine import engine_arguments
from egpo.training.limits import Limits
from egpo.training.process import environment
from egpo.training.settings import as_text

SECRETS = {
    name: f"canary-{name.lower()}" for name in ("OPENAI_API_KEY", "SOME_JUDGES_KEY", "HF_TOKEN", "WANDB_API_KEY")
}

# --- our code --------------------------------------------------------------------------------------

# Formats that run code when they are read.
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "jsonpickle"}
CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
READERS = {"read_pickle", "read_hdf"}
# Arguments that may only be absent or this; torch's `weights_only` must be there.
ARGUMENTS = {"allow_pickle": False, "shell": False, "trust_remote_code": False, "trust_remote": False}


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def dangers(source: str) -> Iterator[str]:
    """Calls and imports of a module that could run code that it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in MODULES:
                yield node.module
        elif isinstance(node, ast.Call):
            given = {
                keyword.arg: getattr(keyword.value, "value", ast.unparse(keyword.value)) for keyword in node.keywords
            }
            name = _called(node)
            if name in CALLS or name.rpartition(".")[2] in READERS:
                yield name
            if name == "torch.load" and given.get("weights_only") is not True:
                yield "torch.load without weights_only"
            yield from (
                f"{key}={given[key]}" for key, safe in ARGUMENTS.items() if key in given and given[key] is not safe
            )


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "eval('1')",
        "import os; os.system('ls')",
        "yaml.load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=chosen)",
        "pandas.read_pickle(path)",
    ],
)
def test_dangers_are_found(source):
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    ["model.eval()", "yaml.safe_load(text)", "torch.load(path, weights_only=True)", "f(trust_remote_code=False)"],
)
def test_safe_code_is_not_reported(source):
    assert not list(dangers(source))


def test_no_module_of_the_package_runs_what_it_reads():
    files = [file for folder in ("src", "workflow", "envs") for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 90
    assert {str(file): found for file in files if (found := list(dangers(file.read_text())))} == {}


# --- code of dependencies --------------------------------------------------------------------------


def settings_of(node: Any, name: str) -> Iterator[Any]:
    """Every value of a key, however deep."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield value
            yield from settings_of(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from settings_of(value, name)


def every_method() -> Iterator[dict[str, Any]]:
    """verl's settings for each method, on a CPU and on GPUs."""
    for catalogue in CATALOGUES.values():
        backbone = catalogue.backbones[catalogue.experiment.backbones[0]]
        for method in METHODS.values():
            config = compose(catalogue.experiment.training, method, backbone)
            yield OmegaConf.to_container(config, resolve=True)


def test_no_training_runs_a_models_code_or_reads_its_pickles():
    count = 0
    for config in every_method():
        trusted = list(settings_of(config, "trust_remote_code"))
        assert len(trusted) >= 2 and not any(trusted)
        # vLLM loads nothing: it gets its weights from the actor.
        assert config["actor_rollout_ref"]["rollout"]["load_format"] == "dummy"
        count += 1
    assert count == 2 * len(METHODS) >= 20


@pytest.mark.parametrize("name", CATALOGUES)
def test_an_evaluation_reads_only_safetensors(name):
    catalogue = CATALOGUES[name]
    for backbone in catalogue.backbones.values():
        arguments = engine_arguments("/nowhere", backbone, catalogue.experiment.evaluation)
        assert arguments["load_format"] == "safetensors"
        assert not arguments.get("trust_remote_code")


def test_evalscope_runs_no_code_of_a_benchmark(monkeypatch):
    """ModelScope runs Python files of a dataset on request, and evalscope requests it by default."""
    import modelscope
    from evalscope.api.dataset.hub import DatasetHub

    import egpo.evaluation.harness  # noqa: F401

    asked: dict[str, Any] = {}

    def load(**arguments: Any) -> None:
        asked.update(arguments)
        raise FileNotFoundError

    monkeypatch.setattr(modelscope.MsDataset, "load", load)
    with pytest.raises(FileNotFoundError):
        DatasetHub("some/benchmark", trust_remote=True, force_redownload=True).load(split="test")
    assert asked["trust_remote_code"] is False


PAYLOADS = (
    "__import__('os').mkdir('{0}')",
    '__import__("os").mkdir("{0}")',
    "(1+__import__('os').mkdir('{0}'))",
    "1+len(str(__import__('os').mkdir('{0}')))",
    "= __import__('os').mkdir('{0}')",
)
FORMS = (
    "{0}",
    "${0}$",
    r"\[{0}\]",
    r"\text{{{0}}}",
    r"The answer is \boxed{{{0}}}.",
    "The final answer is: ${0}$. I hope so.",
)


def test_an_answer_that_is_a_program_is_not_run(tmp_path):
    """math-verify uses sympy's parser, which runs what it parses."""
    from sympy.parsing import parse_expr

    trap = tmp_path / "trap"
    for payload in PAYLOADS:
        for form in FORMS:
            answers_equivalent(form.format(payload.format(trap)), "4")
            read_by_math_verify(form.format(payload.format(trap)))
    assert not trap.exists()
    parse_expr(PAYLOADS[0].format(trap))
    assert trap.exists(), "sympy itself runs it"


# --- servers ---------------------------------------------------------------------------------------


def test_servers_of_a_training_have_random_keys_and_stay_on_this_machine(inputs, tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "VLLM_API_KEY", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    config = small(inputs, tmp_path, "grpo")
    first, second = (environment(config, str(tmp_path)) for _ in range(2))
    for name in ("RAY_AUTH_TOKEN", "VLLM_API_KEY"):
        assert len(first[name]) == 64 and first[name] != second[name]
    assert first["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert config.ray_kwargs.ray_init.include_dashboard is False


def is_loopback(address: str) -> bool:
    """Also of 127.0.0.1 as an address of IPv6."""
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


class Listeners(threading.Thread):
    """Collects the addresses on which descendants of this process listen."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.found: dict[str, set[int]] = {}
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                try:
                    sockets = process.net_connections("inet")
                except psutil.Error:
                    continue
                for socket in sockets:
                    if socket.status == psutil.CONN_LISTEN:
                        self.found.setdefault(socket.laddr.ip, set()).add(socket.laddr.port)


@pytest.mark.slow
def test_a_real_training_listens_on_the_loopback_interface(inputs, tmp_path):
    from egpo.training.launch import train

    listeners = Listeners()
    listeners.start()
    config = small(inputs, tmp_path, "grpo")
    train(config, tmp_path, tmp_path / "work", Limits(time=900, grace=60, stall=600), lambda _: None)
    listeners.over.set()
    elsewhere = {address: ports for address, ports in listeners.found.items() if not is_loopback(address)}
    assert elsewhere != listeners.found
    # torch's rendezvous store listens on every interface; the actor has one.
    assert sum(len(ports) for ports in elsewhere.values()) <= 1, elsewhere


# --- secrets ---------------------------------------------------------------------------------------


@pytest.fixture
def secrets_set(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def judged() -> Any:
    judge = Judge(model="some-judge", url="https://judge.example/v1", key_variable="SOME_JUDGES_KEY")
    return CATALOGUES["demo"].benchmarks["synthetic_minerva"].model_copy(update={"judge": judge})


def test_secrets_of_the_environment_are_in_no_settings_parameters_or_manifest(secrets_set, tmp_path):
    texts = []
    for name, catalogue in CATALOGUES.items():
        experiment = catalogue.experiment
        backbone = experiment.backbones[0]
        made = catalogue.model_copy(update={"benchmarks": {**catalogue.benchmarks, "judged": judged()}})
        config = compose(experiment.training, METHODS["egpo"], catalogue.backbones[backbone])
        parameters = made.model_dump(mode="json")
        texts += [as_text(config), json.dumps(parameters), json.dumps(origin(parameters, "code", []))]
        texts.append(str(engine_arguments("/nowhere", catalogue.backbones[backbone], experiment.evaluation)))
        assert "SOME_JUDGES_KEY" in texts[-3], f"{name}: the variable's name is in the parameters, its value is not"
    assert not [text for text in texts if any(secret in text for secret in SECRETS.values())]


def test_evalscope_hides_the_judges_key_in_what_it_writes_of_a_task(secrets_set, tmp_path):
    from egpo.evaluation.harness import task

    made = task("some-model", "minerva", judged(), tmp_path, 1, tmp_path)
    key = made.judge.models[0]["api_key"] if isinstance(made.judge.models[0], dict) else made.judge.models[0].api_key
    assert key.get_secret_value() == SECRETS["SOME_JUDGES_KEY"], "the judge is asked with it"
    for text in (str(made), repr(made), json.dumps(made.to_dict(), default=str)):
        assert SECRETS["SOME_JUDGES_KEY"] not in text
