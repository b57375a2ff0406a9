"""The doctor on the engines: verl accepts the settings, vLLM answers."""

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
from egpo.config.backbones import Backbone, SyntheticModel
from egpo.config.evaluation import Evaluation
from egpo.config.experiment import Catalogue
from egpo.inference.engine import EngineError
from egpo.inference.engines import Engines
from egpo.runtime.job import duration

VERL_SECONDS, VLLM_SECONDS = 300, 600  # a cold disk needs minutes for the imports
LOG = "The cause is in the log, which is named below"

# --- verl ------------------------------------------------------------------------------------------

# In another process, as a training is: with its environment, and without the imports of this one.
ACCEPT = """
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


def verl_accepts(catalogue: Catalogue, models: dict[str, Path]) -> Finding:
    """The settings of the first training, by verl's check, and the plug-in's names in verl's registries.

    Args:
        catalogue: of the experiment.
        models: where the weights of each backbone are, or will be.
    """
    from egpo.training.settings import verl_config

    experiment, what = catalogue.experiment, f"verl {version('verl')}"
    name, method, seed = experiment.backbones[0], experiment.methods[0], experiment.training_seeds[0]
    training = experiment.of(name).training
    parts = training, catalogue.methods[method], catalogue.backbones[name], models[name]
    with tempfile.TemporaryDirectory(prefix="egpo-doctor-") as place:
        folder = Path(place)
        try:
            config = verl_config(*parts, folder / "train.parquet", folder / "validation.parquet", seed, folder)
            OmegaConf.save(config, folder / "verl.yaml", resolve=True)
            _accept(folder / "verl.yaml", folder / "failure.txt", training.platform)
        except UserError as error:
            return failed(what, str(error), f"Correct the key. {LOG}")
        except subprocess.TimeoutExpired:
            wait = duration(VERL_SECONDS)
            return failed(what, f"cannot be imported in {wait}", f"Check whether the disk is slow. {LOG}")
        except subprocess.CalledProcessError as error:
            return failed(what, f"cannot be imported: it ended with code {error.returncode}", LOG)
    return ok(what, f"accepts the settings of {name} {method}, and has registered the plug-in")


def _accept(settings: Path, failure: Path, platform: str) -> None:
    """Run ACCEPT; raises UserError with what it wrote to `failure`."""
    from egpo.training.cpu import cpu_environment

    environment = {**os.environ, **(cpu_environment() if platform == "cpu" else {})}
    command = [sys.executable, "-c", ACCEPT, str(settings), str(failure)]
    done = subprocess.run(command, env=environment, timeout=VERL_SECONDS)
    if failure.exists():
        raise UserError(failure.read_text())
    done.check_returncode()


# --- vLLM ------------------------------------------------------------------------------------------


def tiny_model(folder: Path, gpus: int) -> Backbone:
    """Write a random Qwen2 model whose heads `gpus` can share, with its tokenizer."""
    from egpo.synthetic.tokenizer import make_tokenizer
    from egpo.synthetic.warm_up import make_model

    heads = max(2, gpus)
    never = {"steps": 1, "batch_size": 1, "learning_rate": 1.0}
    # A head of 64, which all of vLLM's kernels for attention can do.
    sizes = {"num_hidden_layers": 1, "hidden_size": 64 * heads, "num_attention_heads": heads}
    source = SyntheticModel.model_validate({"kind": "synthetic", **sizes, "warm_up": never})
    tokens = {"max_model_len": 256, "max_prompt_length": 128, "max_response_length": 1, "max_evaluation_length": 1}
    backbone = Backbone.model_validate({"label": "tiny", "source": source, **tokens})
    tokenizer = make_tokenizer(False, 1, backbone.max_model_len)
    tokenizer.save_pretrained(folder)
    make_model(source, tokenizer, backbone.max_model_len).save_pretrained(folder)
    return backbone


def vllm_answers(evaluation: Evaluation) -> Finding:
    """One token of a tiny model, through the engine that evaluations use, on the platform of the configuration."""
    from egpo.inference.decoding import vllm_version

    what = f"vLLM {vllm_version()}"
    settings = evaluation.model_copy(update={"kv_cache_gib": 0.25, "max_num_seqs": 1})
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="egpo-doctor-") as place:
        backbone = tiny_model(Path(place), settings.tensor_parallel_size)
        try:
            with Engines(place, backbone, settings) as engine:
                asked = engine.ask([{"role": "user", "content": "What is 1 + 1?"}], seed=1)
                try:
                    answer = asked.result(timeout=VLLM_SECONDS)
                except EngineError:
                    engine.wait()  # raises vLLM's refusal of the model, if that is why it ended
                    raise
        except TimeoutError:
            return failed(what, f"no answer in {duration(VLLM_SECONDS)}", LOG)
        except (EngineError, UserError) as error:
            return failed(what, f"does not start: {error}", LOG)
    if answer.tokens != 1:
        return failed(what, f"{answer.tokens} tokens instead of one: {answer.error}", LOG)
    return ok(what, f"answers on {settings.platform}, {duration(time.monotonic() - start)} after its start")
