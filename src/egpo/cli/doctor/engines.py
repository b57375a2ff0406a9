"""The doctor on what does the work: verl takes the settings, vLLM answers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from omegaconf import OmegaConf

from egpo.cli.doctor.finding import Finding, failed, ok
from egpo.common.errors import UserError
from egpo.config.backbones import Backbone
from egpo.config.evaluation import Evaluation
from egpo.config.experiment import Catalogue
from egpo.inference.engine import Engine, EngineError
from egpo.runtime.job import duration

VERL_SECONDS, VLLM_SECONDS = 300, 600  # a cold disk needs minutes for the imports
LOG = "The whole story is in the log of this command"

# --- verl ------------------------------------------------------------------------------------------

# In a process of its own, as a training is: with its environment, and without what this one has imported.
TAKE = """
import sys
from pathlib import Path
from omegaconf import OmegaConf
from egpo.common.errors import UserError
from egpo.verl_plugin.driver import check_registered
from egpo.training.settings import check
try:
    check(OmegaConf.load(sys.argv[1]))
    check_registered()
except UserError as error:
    Path(sys.argv[2]).write_text(str(error))
    raise
"""


def verl_takes(catalogue: Catalogue, models: dict[str, str]) -> Finding:
    """The first training's whole settings, by verl's own check, and our names in verl's registries.

    models: where the weights of each backbone are, or will be.
    """
    from egpo.training.cpu import cpu_environment
    from egpo.training.settings import verl_config

    experiment = catalogue.experiment
    backbone, method, seed = experiment.backbones[0], experiment.methods[0], experiment.training_seeds[0]
    training = experiment.of(backbone).training
    what = f"verl {version('verl')}"
    with tempfile.TemporaryDirectory(prefix="egpo-doctor-") as place:
        folder = Path(place)
        settings, failure = folder / "verl.yaml", folder / "failure.txt"
        files = folder / "train.parquet", folder / "validation.parquet"
        try:
            config = verl_config(
                training,
                catalogue.methods[method],
                catalogue.backbones[backbone],
                Path(models[backbone]),
                *files,
                seed,
                folder,
            )
        except UserError as error:
            return failed(what, str(error), "Correct the key")
        OmegaConf.save(config, settings, resolve=True)
        environment = {**os.environ, **(cpu_environment() if training.platform == "cpu" else {})}
        command = [sys.executable, "-c", TAKE, str(settings), str(failure)]
        try:
            code = subprocess.run(command, env=environment, timeout=VERL_SECONDS).returncode
        except subprocess.TimeoutExpired:
            return failed(
                what, f"cannot be imported in {duration(VERL_SECONDS)}", f"See whether the disk is slow. {LOG}"
            )
        if failure.exists():
            return failed(what, failure.read_text(), LOG)
    if code:
        return failed(what, f"cannot be imported: it ended with code {code}", LOG)
    return ok(what, f"takes the settings of {backbone} {method}, and knows our plug-in")


# --- vLLM ------------------------------------------------------------------------------------------


def tiny(folder: Path, gpus: int) -> Backbone:
    """Write a random Qwen2 model whose heads `gpus` can share, with its tokenizer."""
    from egpo.synthetic.tokenizer import make_tokenizer
    from egpo.synthetic.warm_up import make_model

    heads = max(2, gpus)
    never = {"problems": 1, "steps": 1, "batch_size": 1, "learning_rate": 1.0}
    # A head of 64, which all of vLLM's kernels for attention can do.
    source = {
        "kind": "synthetic",
        "num_hidden_layers": 1,
        "hidden_size": 64 * heads,
        "num_attention_heads": heads,
        "warm_up": never,
    }
    tokens = {"max_model_len": 256, "max_prompt_length": 128, "max_response_length": 1, "max_evaluation_length": 1}
    backbone = Backbone.model_validate({"label": "tiny", "source": source, **tokens})
    tokenizer = make_tokenizer(False, 1, backbone.max_model_len)
    tokenizer.save_pretrained(folder)
    make_model(backbone.source, tokenizer, backbone.max_model_len).save_pretrained(folder)
    return backbone


def vllm_answers(evaluation: Evaluation) -> Finding:
    """One token of a tiny model, through the engine that evaluations use, on the platform of the configuration."""
    from egpo.inference.decoding import vllm_version

    what = f"vLLM {vllm_version()}"
    settings = evaluation.model_copy(update={"kv_cache_gib": 0.25, "max_num_seqs": 1})
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="egpo-doctor-") as place:
        backbone = tiny(Path(place), settings.gpus if settings.platform == "cuda" else 1)
        try:
            with Engine(place, backbone, settings) as engine:
                asked = engine.ask([{"role": "user", "content": "What is 1 + 1?"}], seed=1)
                try:
                    answer = asked.result(timeout=VLLM_SECONDS)
                except EngineError:
                    engine.wait()  # tells what vLLM has against the model, if that is why it ended
                    raise
        except TimeoutError:
            return failed(what, f"no answer in {duration(VLLM_SECONDS)}", LOG)
        except (EngineError, UserError) as error:
            return failed(what, f"does not start: {error}", LOG)
    if answer.tokens != 1:
        return failed(what, f"{answer.tokens} tokens in place of one: {answer.error}", LOG)
    return ok(what, f"answers on {settings.platform}, {duration(time.monotonic() - start)} after its start")
