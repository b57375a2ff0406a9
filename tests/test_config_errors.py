"""The mistakes that users make in a configuration: each stops before any job, and says which key and what to do.

Most are tried on egpo.cli.check.load_checked, which every start of Snakemake calls first; a few on Snakemake itself:
how a message reaches the terminal, and what Snakemake reads before our code does.
"""

from __future__ import annotations

import copy
import json
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_experiment import SNAKEMAKE

from egpo.cli.check import load_checked
from egpo.cli.checks.overrides import RESERVED
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.files import read_files
from egpo.config.messages import RENAMED

OUT = object()  # takes a key out
SIZES = {"max_model_len": 1024, "max_prompt_length": 256, "max_response_length": 64, "max_evaluation_length": 64}
ABLATIONS = {"backbone": "tiny-math", "methods": ["c1"], "benchmarks": ["synthetic_gsm8k"]}
QUOTAS = {"default_mixed": 510, "default_correct": 340, "extended_mixed": 90, "extended_correct": 60}


def method(calibration: dict | None = None, **keys: Any) -> dict:
    """Changes that add a method of one's own and train it."""
    entry = {"label": "Mine", "calibration": calibration or {}, **keys}
    return {"methods": ["mine"], "main_method": "mine", "define.methods.mine": entry}


SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "tie_word_embeddings": True,
}
HUB = {"kind": "hub", "repo": "a/b", "architecture": SMALL}
WARM_UP = {"steps": 1, "batch_size": 1, "learning_rate": 0.001}


def backbone(source: dict, **keys: Any) -> dict:
    return {"backbones": ["own"], "define.backbones.own": {"label": "Own", "source": source, **SIZES, **keys}}


def benchmark(**keys: Any) -> dict:
    entry = {
        "label": "Own",
        "adapter": "math_500",
        "source": {"kind": "hub", "repo": "someone/mine"},
        "num_questions": 3,
        "num_fewshot": 0,
        **keys,
    }
    return {"benchmarks": ["own"], "define.benchmarks.own": entry}


def problems(**keys: Any) -> dict:
    return {"data.source": {"kind": "problems", **keys}, "data.quotas": {"rows": 1000}}


def verl(key: str, value: Any) -> dict:
    return {"training.overrides": {key: value}}


# name: (changes to config/demo.yaml by dotted key, words that the message must hold: the key, then the remedy).
# {places} are folders and files of the fixture.
MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    # keys that are not there, at every level
    "a section misspelt": ({"trainng": {}}, ("trainng: there is no such key", "Did you mean 'training'?")),
    "a key of training": (
        {"training.rollouts_per_promt": 8},
        ("training.rollouts_per_promt", "Did you mean 'rollouts_per_prompt'?"),
    ),
    "a key of evaluation": ({"evaluation.temprature": 1}, ("evaluation.temprature", "'temperature'")),
    "a key of data": ({"data.validation_row": 3}, ("data.validation_row", "'validation_rows'")),
    "a key of the source": ({"data.source.sed": 3}, ("data.source.sed", "'seed'")),
    "a key of the quotas": ({"data.quotas.default_mixd": 3}, ("data.quotas.default_mixd", "'default_mixed'")),
    "a key of deduplication": ({"data.deduplication": {"band": 4}}, ("data.deduplication.band", "'bands'")),
    "a key of uncertainty": (
        {"uncertainty.rollouts_per_prompts": 4},
        ("uncertainty.rollouts_per_prompts", "'rollouts_per_prompt'"),
    ),
    "a key of the jobs": ({"jobs.train.minuts": 4}, ("jobs.train.minuts", "'minutes'")),
    "a key of the ablations": ({"ablations": ABLATIONS | {"method": []}}, ("ablations.method", "'methods'")),
    "a kind of definitions": ({"define.method": {}}, ("define.method", "'methods'")),
    "a key of an own method": (method(clip_hi=1), ("define.methods.mine.clip_hi", "'clip_ratio_high'")),
    "a key of a calibration": (method({"lam": 1}), ("define.methods.mine.calibration.lam", "lam_min, lam_max")),
    "a key of an own backbone": (
        backbone({"kind": "hub", "repo": "a/b"}, think=True),
        ("define.backbones.own.think", "'thinks'"),
    ),
    "a key of an own benchmark": (benchmark(num_fewshots=1), ("define.benchmarks.own.num_fewshots", "'num_fewshot'")),
    "a key of a further model": (
        {"extra_models": {"x": {"model": "a/b", "like": "tiny-math", "labl": "X"}}},
        ("extra_models.x.labl", "'label'"),
    ),
    "a key of a backbone's overlay": (
        {"by_backbone": {"tiny-math": {"training": {"node": 3}}}},
        ("by_backbone.tiny-math.training.node", "'nodes'"),
    ),
    "a key that must be the same for all backbones": (
        {"by_backbone": {"tiny-math": {"training": {"platform": "cuda"}}}},
        ("by_backbone.tiny-math.training.platform: there is no such key", "gpus_per_node"),
    ),
    "a key with its dots, as for verl": (
        {"training.total_training_steps": OUT, "training\0total_training_steps": 3},
        ("training.total_training_steps",),
    ),
    # keys that are missing
    "no seed for the data": ({"data.seed": OUT}, ("data.seed: this key is missing", "Add it")),
    "no batch size": ({"training.train_batch_size": OUT}, ("training.train_batch_size", "missing", "rollout batch")),
    "no kind of source": ({"data.source.kind": OUT}, ("data.source.kind", "missing", "standin", "problems")),
    "a quota missing": ({"data.quotas.default_mixed": OUT}, ("data.quotas.default_mixed", "missing")),
    # values of a wrong type
    "a word for a number": (
        {"training.total_training_steps": "many"},
        ("training.total_training_steps: 'many'", "integer"),
    ),
    "yes for a number": ({"training.total_training_steps": True}, ("training.total_training_steps: True", "integer")),
    "a fraction of a step": ({"training.total_training_steps": 2.5}, ("training.total_training_steps: 2.5", "integer")),
    "no number": ({"training.learning_rate": None}, ("training.learning_rate: None", "number")),
    "one name for a list": ({"methods": "grpo"}, ("methods: 'grpo'", "write a list: [grpo]")),
    "one seed for a list": ({"training_seeds": 1}, ("training_seeds: 1", "[1]")),
    "a number for a section": ({"training": 3}, ("training: 3", "keys with values")),
    "an empty section": ({"data": None}, ("data: None", "keys with values")),
    "a list for a name": ({"data.preset": ["paper"]}, ("data.preset", "Known: paper, recommended")),
    # values out of range
    "one rollout": (
        {"training.rollouts_per_prompt": 1},
        ("training.rollouts_per_prompt: 1", "greater than or equal to 2"),
    ),
    "one rollout for entropies": (
        {"uncertainty.rollouts_per_prompt": 1},
        ("uncertainty.rollouts_per_prompt: 1", "equal to 2"),
    ),
    "yes for a number that may be 0": ({"data.heldout_rows": True}, ("data.heldout_rows: True", "integer")),
    "a number with too many zeros": ({"data.heldout_rows": 10**30}, ("data.heldout_rows: 1000000", "less than")),
    "no step": ({"training.total_training_steps": 0}, ("training.total_training_steps: 0", "equal to 1")),
    "a negative batch": ({"training.train_batch_size": -4}, ("training.train_batch_size: -4", "equal to 1")),
    "a negative seed": ({"training_seeds": [-1]}, ("training_seeds.0: -1", "equal to 0")),
    "a negative quota": ({"data.quotas.default_mixed": -5}, ("data.quotas.default_mixed: -5", "equal to 0")),
    "a learning rate without its sign": ({"training.learning_rate": 3e4}, ("training.learning_rate", "less than 1")),
    "an endless learning rate": ({"training.learning_rate": float("inf")}, ("training.learning_rate", "finite")),
    "top_p in percent": ({"evaluation.top_p": 95}, ("evaluation.top_p: 95", "less than or equal to 1")),
    "top_k below -1": ({"evaluation.top_k": -5}, ("evaluation.top_k: -5", "equal to -1")),
    "all of a GPU for vLLM": (
        {"training.gpu_memory_utilization": 1},
        ("training.gpu_memory_utilization: 1", "less than 1"),
    ),
    "lam_min above 1": (method({"weight": "entropy", "lam_min": 1.2}), ("calibration.lam_min: 1.2", "equal to 1")),
    "lam_max below 1": (method({"weight": "entropy", "lam_max": 0.5}), ("calibration.lam_max: 0.5", "equal to 1")),
    "an unknown precision": ({"evaluation.dtype": "float16"}, ("evaluation.dtype", "'float32' or 'bfloat16'")),
    "an unknown platform": ({"training.platform": "gpu"}, ("training.platform", "'cpu' or 'cuda'")),
    "a reason that is none": ({"data.keep": ["figures"]}, ("data.keep.0: 'figures'", "'figure'")),
    "a question type in capitals": ({"data.question_types": ["MCQ"]}, ("data.question_types.0", "lower case")),
    # names
    "an unknown method": ({"methods": ["gpro"]}, ("methods: 'gpro'", "Did you mean 'grpo'?")),
    "an unknown backbone": ({"backbones": ["tiny"]}, ("backbones: 'tiny'", "Did you mean 'tiny-math'?")),
    "an unknown benchmark": ({"benchmarks": ["gsm9k"]}, ("benchmarks: 'gsm9k'", "Did you mean 'gsm8k'?")),
    "an unknown preset": ({"data.preset": "papr"}, ("data.preset: 'papr'", "Did you mean 'paper'?")),
    "an unknown kind of source": (
        {"data.source.kind": "huv"},
        ("data.source.kind: 'huv'", "hub, local, problems, standin"),
    ),
    "an unknown kind of model": (backbone({"kind": "x"}), ("define.backbones.own.source.kind: 'x'", "hub")),
    "an unknown tokenizer": ({"data.tokenizer": "tiny-mat"}, ("data.tokenizer: 'tiny-mat'", "'tiny-math'")),
    "an experiment with a slash": ({"experiment": "my/run"}, ("experiment: 'my/run'", "lower-case letters")),
    "an experiment in capitals": ({"experiment": "Mine"}, ("experiment: 'Mine'", "lower-case letters")),
    "an own name with a blank": (
        {"define.methods": {"my method": {"label": "x"}}},
        ("define.methods.my method", "lower-case letters"),
    ),
    "the untrained model as a method": ({"methods": ["base", "grpo"]}, ("methods: 'base'", "Remove it here")),
    "an own method named base": (
        {"define.methods.base": {"label": "Mine"}},
        ("define.methods.base", "choose another name"),
    ),
    "a control that is not named so": (
        method({"control": "random_reward"}),
        ("define.methods.mine", "begin its label with 'Control: '"),
    ),
    "a control without any advantage": (
        method({"control": "nsr_only"}, label="Control: mine"),
        ("define.methods.mine", "add nsr: true"),
    ),
    "a control of weights that are none": (
        method({"control": "permuted_entropy"}, label="Control: mine"),
        ("define.methods.mine.calibration.control: changes nothing", "weight: entropy"),
    ),
    "a method twice": ({"methods": ["egpo", "egpo"]}, ("methods: an entry is listed twice",)),
    "a training seed twice": ({"training_seeds": [1, 1]}, ("training_seeds: an entry is listed twice",)),
    "a trial's seed twice": ({"evaluation.seeds": [3, 3]}, ("evaluation.seeds", "listed twice")),
    "a label that ends a table's cell": (method(label="a|b"), ("define.methods.mine.label: 'a|b'", "without '|'")),
    "a label that figures take for mathematics": (benchmark(label="$x_$"), ("define.benchmarks.own.label", "'$'")),
    "a label that legends leave out": (backbone(HUB, label="_own"), ("define.backbones.own.label", "with no '_'")),
    "an empty label": (method(label=""), ("define.methods.mine.label: ''", "one line of text")),
    "a path longer than a file system allows": (
        backbone({"kind": "local", "path": "x" * 300}),
        ("xxx: cannot be read (File name too long)", "Correct the path"),
    ),
    "a label twice": (
        method() | {"methods": ["egpo", "mine"], "define.methods.mine.label": "EGPO"},
        ("define.methods.mine.label: 'EGPO'", "choose another"),
    ),
    "the ablations' backbone": (
        {"ablations": ABLATIONS | {"backbone": "tiny-think"}},
        ("ablations.backbone: 'tiny-think'", "They are: tiny-math"),
    ),
    "a main method that is not trained": (
        {"main_method": "dapo"},
        ("main_method: 'dapo'", "They are: grpo, egpo"),
    ),
    "an ablation that is the reference": (
        {"ablations": ABLATIONS | {"methods": ["egpo", "c1"]}},
        ("ablations.methods: 'egpo'", "take it out"),
    ),
    "an ablation twice": ({"ablations": ABLATIONS | {"methods": ["c1", "c1"]}}, ("ablations.methods", "twice")),
    "decontamination against another's benchmark": (
        {"data.decontamination": {"benchmarks": ["gsm8k"]}},
        ("data.decontamination.benchmarks: 'gsm8k'", "They are:"),
    ),
    "an overlay for no backbone": ({"by_backbone": {"tiny": {}}}, ("by_backbone: 'tiny'", "'tiny-math'")),
    "a further model like none": (
        {"extra_models": {"x": {"model": "a/b", "like": "tiny"}}},
        ("extra_models.x.like: 'tiny'", "'tiny-math'"),
    ),
    "a further model of a backbone's name": (
        {"extra_models": {"tiny-math": {"model": "a/b", "like": "tiny-math"}}},
        ("extra_models.tiny-math", "Choose another"),
    ),
    # folders and files
    "a model's folder that is none": (
        backbone({"kind": "local", "path": "/nowhere/model"}),
        ("define.backbones.own.source.path: '/nowhere/model' is not a folder", "Give the path"),
    ),
    "a folder without a model": (
        backbone({"kind": "local", "path": "{empty}"}),
        ("define.backbones.own.source.path", "no config.json"),
    ),
    "a model in a format that runs code": (
        backbone({"kind": "local", "path": "{pickled}"}),
        ("define.backbones.own.source.path", "no *.safetensors", "save_pretrained"),
    ),
    "a model without a tokenizer": (
        backbone({"kind": "local", "path": "{pickled}"}),
        ("define.backbones.own.source.path", "no tokenizer_config.json", "save_pretrained"),
    ),
    "a tokenizer without a chat template": (
        backbone({"kind": "local", "path": "{formless}"}),
        ("define.backbones.own.source.path", "put one there as chat_template.jinja"),
    ),
    "a tokenizer without </think>": (
        backbone({"kind": "local", "path": "{formless}"}, thinks=True),
        ("define.backbones.own.source.path", "set thinks: false"),
    ),
    "a GGUF file that is none": (
        backbone({"kind": "gguf", "path": "/nowhere.gguf"}),
        ("define.backbones.own.source.path: '/nowhere.gguf' is not a file", "GGUF"),
    ),
    "a GGUF file that is something else": (
        backbone({"kind": "gguf", "path": "{problems}"}),
        ("define.backbones.own", "not a readable GGUF file"),
    ),
    "a warm-up beside that of a synthetic model": (
        backbone({"kind": "synthetic", "warm_up": WARM_UP}, warm_up={**WARM_UP, "sets": [{"path": "{problems}"}]}),
        ("define.backbones.own: warm_up stands beside source.warm_up", "take it out"),
    ),
    "worked examples in no file": (
        backbone(HUB, warm_up={**WARM_UP, "sets": [{"path": "{empty}"}]}),
        ("define.backbones.own.warm_up.sets.0.path", "no .jsonl or .parquet file"),
    ),
    "worked examples without a solution": (
        backbone(HUB, warm_up={**WARM_UP, "sets": [{"path": "{problems}", "solution": "s"}]}),
        ("define.backbones.own.warm_up.sets.0.solution: 's' is not a column",),
    ),
    "a model that is too large for the memory": (
        backbone({**HUB, "architecture": {**SMALL, "num_hidden_layers": 30_000, "hidden_size": 512}}),
        ("define.backbones.own: a training of this model needs about", "jobs.train.memory_gib gives it 8"),
    ),
    "a model's name without its owner": (
        backbone({"kind": "hub", "repo": "qwen"}),
        ("define.backbones.own.source.repo: 'qwen'", "owner/name"),
    ),
    "a model of the Hub without its sizes": (
        backbone({"kind": "hub", "repo": "a/b"}),
        ("define.backbones.own.source.architecture: this key is missing", "give its sizes", "num_key_value_heads"),
    ),
    "a further model that is nothing": (
        {"extra_models": {"x": {"model": "/nowhere", "like": "tiny-math"}}},
        ("extra_models.x.model: '/nowhere'", "owner/name on the Hub"),
    ),
    "a dataset's folder that is none": (
        {"data.source": {"kind": "local", "path": "/nowhere"}},
        ("data.source.path: '/nowhere' is not a folder", "data/ and extended/"),
    ),
    "a dataset without data/ and extended/": (
        {"data.source": {"kind": "local", "path": "{empty}"}},
        ("data.source.path", "holds no data/*.parquet", "take kind problems"),
    ),
    "problems in no file": (
        {"data.source": {"kind": "problems", "path": "{empty}"}, "data.quotas": {"rows": 100}},
        ("data.source.path", "no .jsonl or .parquet file"),
    ),
    "quotas by bucket for problems alone": (
        {"data.source": {"kind": "problems", "path": "{problems}"}},
        ("data: quotas: write {rows: ...}",),
    ),
    "problems in no place": (problems(), ("data.source: give the problems' path, or the repo",)),
    "problems in two places": (
        problems(path="{problems}", repo="a/b", revision="1"),
        ("data.source: path and repo are two places", "list both in `sets`"),
    ),
    "a file of problems with a split": (
        problems(path="{problems}", split="test"),
        ("data.source: split is for a dataset of the Hub", "take split out"),
    ),
    "problems beside a list of them": (
        problems(path="{problems}", sets=[{"path": "{problems}"}]),
        ("data.source: path stands beside `sets`", "move it into"),
    ),
    "a set of problems in no place": (problems(sets=[{"answer": "a"}]), ("data.source: give the problems' path",)),
    "a misspelt key of a set of problems": (
        problems(sets=[{"path": "{problems}", "anser": "a"}]),
        ("data.source.sets.0.anser: there is no such key", "Did you mean 'answer'?"),
    ),
    "a dataset of problems that can change": (
        problems(repo="a/b"),
        ("data.source: revision is missing", "name the commit"),
    ),
    "a dataset of problems without its owner": (
        problems(repo="gsm8k", revision="1"),
        ("data.source: repo 'gsm8k' is neither owner/name on the Hub nor a path that begins with",),
    ),
    "a dataset of problems in no folder": (
        problems(sets=[{"path": "{problems}"}, {"repo": "/nowhere/gsm8k"}]),
        ("data.source.sets.1.repo: '/nowhere/gsm8k' is not a folder", "Give that of a dataset"),
    ),
    "a set of problems in no file": (
        problems(sets=[{"path": "{problems}"}, {"path": "{empty}"}]),
        ("data.source.sets.1.path", "no .jsonl or .parquet file"),
    ),
    "a column that the problems lack": (
        problems(path="{problems}", answer="solution"),
        ("data.source.answer: 'solution' is not a column", "problems.jsonl: line 1, which has problem, answer"),
    ),
    "an empty mark before the answer": (
        problems(path="{problems}", answer_after=""),
        ("data.source.answer_after", "at least 1 character"),
    ),
    "rows for a source with buckets": (
        {"data.quotas": {"rows": 100}},
        ("data: quotas: write {rows: ...}", "default_mixed"),
    ),
    "a benchmark's empty folder": (
        benchmark(source={"kind": "local", "path": "{empty}"}),
        ("define.benchmarks.own.source.path", "must hold the files that evalscope's math_500 reads"),
    ),
    # benchmarks
    "an adapter that evalscope lacks": (
        benchmark(adapter="math500"),
        ("define.benchmarks.own.adapter: evalscope has no benchmark 'math500'", "Did you mean 'math_500'?"),
    ),
    "an adapter without synthetic problems": (
        benchmark(adapter="gpqa_diamond", source={"kind": "synthetic", "seed": 1, "templates": "sums"}),
        ("define.benchmarks.own.adapter", "Possible: gsm8k, math_500"),
    ),
    "a judge without a scheme": (
        benchmark(judge={"model": "m", "url": "localhost:8000/v1"}),
        ("define.benchmarks.own.judge.url", "begins with http://"),
    ),
    "a key in place of its variable": (
        benchmark(judge={"model": "m", "url": "http://h/v1", "key_variable": "sk-123"}),
        ("judge.key_variable", "environment variable"),
    ),
    "a template beside worked examples": (
        benchmark(prompt="{question}", num_fewshot=4),
        ("define.benchmarks.own: prompt", "num_fewshot: 0"),
    ),
    "a template with a single brace": (
        benchmark(prompt="{question} \\boxed{}"),
        ("define.benchmarks.own: prompt", "\\boxed{{}}"),
    ),
    "a template with a lone brace": (benchmark(prompt="{question} }"), ("own: prompt", "write a literal brace")),
    "a template without the question": (benchmark(prompt="Solve it."), ("own: prompt must contain {question}",)),
    # sizes that contradict each other
    "steps and epochs": (
        {"training.total_epochs": 2},
        ("training: give exactly one of total_epochs and total_training_steps",),
    ),
    "neither steps nor epochs": (
        {"training.total_training_steps": OUT},
        ("training: give exactly one of total_epochs and total_training_steps",),
    ),
    "a response as long as the context": (
        backbone({"kind": "hub", "repo": "a/b"}, max_response_length=1024),
        ("define.backbones.own: max_response_length 1024", "max_model_len 1024"),
    ),
    "an evaluation as long as the context": (
        backbone({"kind": "hub", "repo": "a/b"}, max_evaluation_length=2000),
        ("define.backbones.own: max_evaluation_length 2000", "max_model_len 1024"),
    ),
    "prompt and response longer than the context": (
        backbone({"kind": "local", "path": "{model}"}, max_prompt_length=512, max_response_length=600),
        ("define.backbones.own.max_model_len: 1024", "lower these"),
    ),
    "prompts that stop a training": (
        {"data.final_prompt_tokens": 300},
        ("data.final_prompt_tokens: 300", "max_prompt_length is 256: lower it"),
    ),
    "rollouts on problems that leave no room": (
        backbone({"kind": "local", "path": "{model}"}, max_evaluation_length=1000),
        ("define.backbones.own.max_evaluation_length: 1000", "Lower one of them"),
    ),
    "a least evaluation above the most": (
        backbone({"kind": "hub", "repo": "a/b"}, min_evaluation_length=100),
        ("define.backbones.own: min_evaluation_length 100", "max_evaluation_length 64"),
    ),
    "quotas below a batch": (
        {"data.quotas.default_mixed": 0, "training.train_batch_size": 480},
        ("data.quotas", "raise the quotas or lower the batch"),
    ),
    "quotas above the source": ({"data.quotas.default_mixed": 5000}, ("data.quotas: 5340", "raise default_rows")),
    "entropies without rows": ({"data.heldout_rows": 0}, ("data.heldout_rows: 0", "raise it")),
    "checkpoints after the end": ({"training.save_freq": 100}, ("training.save_freq: 100", "give at most 28")),
    "checkpoints after the end of the epochs": (
        {"training.total_training_steps": OUT, "training.total_epochs": 1, "training.save_freq": 30},
        ("training.save_freq: 30", "give at most 29"),
    ),
    "more milestones than steps": ({"training.milestones": 28}, ("training.milestones: 28", "give at most 27")),
    "milestones below none": ({"training.milestones": -1}, ("training.milestones: -1", "greater than or equal to 0")),
    "milestones on a benchmark of another experiment": (
        {"evaluation.milestones.benchmarks": ["gsm8k"]},
        ("evaluation.milestones.benchmarks: 'gsm8k'", "They are: synthetic_math_500"),
    ),
    "milestones on no benchmark": ({"evaluation.milestones.benchmarks": []}, ("evaluation.milestones.benchmarks",)),
    "a trial of milestones twice": (
        {"evaluation.milestones.seeds": [3, 3]},
        ("evaluation.milestones.seeds", "listed twice"),
    ),
    "trials of milestones that are all the same": (
        {
            "evaluation.temperature": 0,
            "evaluation.seeds": [1],
            "evaluation.milestones.seeds": [1, 2],
            "uncertainty": OUT,
        },
        ("evaluation.temperature: 0", "give one seed"),
    ),
    "bands that do not divide": ({"data.deduplication": {"bands": 7}}, ("data.deduplication: num_perm 128", "7")),
    "a threshold without bands": (
        {"data.deduplication": {"mode": "paper", "threshold": 0.99}},
        ("data.deduplication.threshold: 0.99 with num_perm 128", "lower the threshold", "mode: verified"),
    ),
    "the same for decontamination": (
        {"data.deduplication": {"threshold": 0.995}, "data.decontamination": {"rules": ["lsh"]}},
        ("data.deduplication.threshold: 0.995", "decontamination.rules without lsh"),
    ),
    "permutations for one band": (
        {"data.deduplication": {"mode": "paper", "num_perm": 2, "bands": 2}},
        ("data.deduplication.threshold: 0.8 with num_perm 2", "raise num_perm"),
    ),
    "responses that GPUs cannot share": (
        {"training.platform": "cuda", "training.gpus_per_node": 7},
        ("training.train_batch_size: 32", "7 GPUs: take a multiple"),
    ),
    "the same for one backbone": (
        {"training.platform": "cuda", "by_backbone": {"tiny-math": {"training": {"nodes": 3}}}},
        ("by_backbone.tiny-math: training.train_batch_size: 32", "3 GPUs"),
    ),
    "GPUs on a CPU": ({"training.gpus_per_node": 8}, ("training.gpus_per_node: 8", "Set platform: cuda")),
    "GPUs for an evaluation on a CPU": ({"evaluation.gpus": 8}, ("evaluation.gpus: 8", "Set platform: cuda")),
    "a cache for the CPU on a GPU": ({"evaluation.platform": "cuda"}, ("evaluation.kv_cache_gib", "Take it out")),
    "trials that are all the same": ({"evaluation.temperature": 0}, ("evaluation.temperature: 0", "give one seed")),
    # methods that are not what they seem
    "overlong shaping with NSR": (
        method({"nsr": True}, overlong_buffer={"len": 8}),
        ("define.methods.mine", "take out overlong"),
    ),
    "a buffer as long as the response": (
        method(overlong_buffer={"len": 64}),
        ("define.methods.mine.overlong_buffer.len: 64", "give fewer"),
    ),
    "bounds without weights": (
        method({"lam_max": 1.5}),
        ("define.methods.mine.calibration.lam_max", "add weight: entropy"),
    ),
    "NSR on groups that are replaced": (
        method({"weight": "entropy", "nsr": True}, dynamic_sampling=True),
        ("define.methods.mine.calibration.nsr", "turn one of them off"),
    ),
    "the answer of a model that does not think": (
        method({"weight": "entropy", "scope": "answer"}),
        ("define.methods.mine.calibration.scope: 'answer'", "set scope: response"),
    ),
    "an unknown weight": (method({"weight": "entrpy"}), ("calibration.weight: 'entrpy'", "none, entropy")),
    "own weights in no file": (
        method({"weight": "nowhere.py:mine"}),
        ("define.methods.mine.calibration.weight", "give the path of a Python file"),
    ),
    "own weights that are not in their file": (
        method({"weight": "{weights}:other"}),
        ("define.methods.mine.calibration.weight", "no function 'other'", "mine"),
    ),
    "own weights of too few arguments": (
        method({"weight": "{weights}:short"}),
        ("define.methods.mine.calibration.weight", "(entropies, correct, groups)"),
    ),
    "own weights that are no Python": (
        method({"weight": "{broken}:mine"}),
        ("define.methods.mine.calibration.weight", "cannot be read"),
    ),
    # verl
    "a setting that verl lacks": (verl("trainer.loger", "x"), ("training.overrides", "Did you mean 'trainer.logger'?")),
    "a setting that is ours": (
        verl("actor_rollout_ref.rollout.n", 4),
        ("training.overrides.actor_rollout_ref.rollout.n", "set training.rollouts_per_prompt"),
    ),
    "a setting that ours depend on": (verl("algorithm.adv_estimator", "grpo"), ("adv_estimator", "take it out")),
    "ours in a nested form": (verl("trainer", {"save_freq": 3}), ("trainer.save_freq", "set training.save_freq")),
    "a nested form": (verl("trainer", {"loger": 3}), ("training.overrides.trainer", "trainer.loger: value")),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """Folders and files that mistakes are about."""
    folder = tmp_path_factory.mktemp("places")
    names = ("empty", "pickled", "formless", "model")
    made = {name: folder / name for name in names} | {
        "weights": folder / "weights.py",
        "broken": folder / "broken.py",
        "problems": folder / "problems.jsonl",
    }
    for name in names:
        made[name].mkdir()
    for name in ("pickled", "formless", "model"):
        (made[name] / "config.json").write_text("{}")
    (made["pickled"] / "pytorch_model.bin").touch()
    for name in ("formless", "model"):
        (made[name] / "model.safetensors").touch()
        (made[name] / "tokenizer_config.json").write_text("{}")
    (made["model"] / "chat_template.jinja").touch()
    made["weights"].write_text("def mine(entropies, correct, groups): ...\n\n\ndef short(entropies): ...\n")
    made["broken"].write_text("def mine(")
    made["problems"].write_text(json.dumps({"problem": "1+1?", "answer": "2"}))
    return made


def changed(values: dict, changes: dict[str, Any], places: dict[str, Path]) -> dict:
    """`values` with the changes laid in; a NUL in a key stands for a dot that does not part it."""
    values = copy.deepcopy(values)
    for dotted, value in changes.items():
        *above, key = dotted.split(".")
        section = values
        for part in above:
            section = section.setdefault(part, {})
        if value is OUT:
            del section[key]
        else:
            section[key.replace("\0", ".")] = value
    text = json.dumps(values)
    for name, path in places.items():
        text = text.replace(f"{{{name}}}", str(path))
    return json.loads(text)


def test_there_are_many():
    assert len(MISTAKES) > 100


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_named_with_its_remedy(name, demo, places):
    changes, words = MISTAKES[name]
    with pytest.raises(UserError) as caught:
        load_checked(changed(demo, changes, places), "mine.yaml")
    lines = str(caught.value).splitlines()
    assert all(line.startswith(("mine.yaml: ", "config/")) for line in lines), lines
    assert any(all(word in line for word in words) for line in lines), lines


def test_two_mistakes_are_two_lines(demo, places):
    both = changed(demo, {"training.save_freq": 100, "evaluation.gpus": 2}, places)
    with pytest.raises(UserError) as caught:
        load_checked(both, "mine.yaml")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "training.save_freq",
        "evaluation.gpus",
    ]


FILES = {
    "no such file": (None, "there is no such file"),
    "an empty file": (b"", "found nothing"),
    "a list": (b"- a\n- b\n", "found list"),
    "a bracket that does not close": (b"a: [1, 2\nb: 3\n", "line 2, column 2"),
    "a tab": (b"a:\n\tb: 1\n", "Indent with spaces"),
    "Latin-1": ("a: é\n".encode("latin-1"), "Save the file as UTF-8"),
    "a key twice": (
        b"training:\n  total_training_steps: 3\n  rollouts_per_prompt: 8\n  total_training_steps: 30\n",
        "line 4: the key 'total_training_steps' appears twice",
    ),
    "a date that is none": (b"note: 2026-13-45\n", "Put it into quotes"),
    "an anchor that holds itself": (b"training: &all {more: *all}\n", "an alias (*) of itself"),
    "brackets without end": (b"note: " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
    "a section twice": (b"data: {}\ntraining: {}\ndata: {}\n", "line 3: the key 'data' appears twice"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_says_where(name, tmp_path):
    content, expected = FILES[name]
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_files([file])
    assert str(caught.value).startswith(f"{file}: ") and expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_keys_that_a_merge_brings_are_not_twice():
    """`<<` lays an entry over another on purpose: config/methods.yaml does."""
    assert read_files([ROOT / "config" / "methods.yaml"])["edge_grpo_clamped"]["calibration"]["correct"] == "clip"


def test_later_files_lie_over_earlier_ones():
    values = read_files([ROOT / "config" / "demo.yaml", ROOT / "config" / "demo-full.yaml"])
    assert (values["training"]["total_training_steps"], values["training"]["rollouts_per_prompt"]) == (8, 8)


def test_what_is_ours_is_what_verl_would_be_given(demo):
    """Each setting that `training.overrides` may not name is one that this workflow sets."""
    from egpo.training.settings import verl_config

    catalogue = load_checked(demo, "mine.yaml")
    parts = catalogue.experiment.training, catalogue.methods["egpo"], catalogue.backbones["tiny-math"]
    config = verl_config(*parts, ROOT, ROOT, ROOT, 1, ROOT)
    for key in RESERVED:
        node: Any = config
        for part in key.split("."):
            assert part in node, key
            node = node[part]


# --- keys of former configurations -------------------------------------------------------------------

FORMER = {  # the sections that have renamed keys, with their former keys
    "": "also_evaluate",
    "training": "prompts_per_step rollouts steps epochs save_every validate_every rollout_memory verl",
    "evaluation": "concurrency",
    "uncertainty": "rollouts",
    "data.deduplication": "permutations shingle",
    "define.methods.mine": "clip_low clip_high clip_dual most_batches overlong",
    "define.methods.mine.overlong_buffer": "buffer penalty",
    "define.backbones.own": "context prompt_tokens response_tokens evaluation_tokens least_evaluation_tokens",
    "define.backbones.own.source.architecture": "layers hidden intermediate heads kv_heads vocabulary tied",
    "define.backbones.made.source": "layers width heads",
    "define.backbones.made.source.warm_up": "batch",
    "define.benchmarks.own": "items shots",
    "by_backbone.tiny-math.training": "save_every rollout_memory verl",
    "by_backbone.tiny-math.evaluation": "concurrency",
}


def test_every_renamed_key_is_tried():
    assert {key for keys in FORMER.values() for key in keys.split()} == set(RENAMED)


@pytest.mark.parametrize("section", FORMER)
def test_a_former_key_is_answered_with_its_present_name(section, demo):
    hub = {"kind": "hub", "repo": "a/b", "architecture": {}}
    made = {"label": "Made", "source": {"kind": "synthetic", "warm_up": {}}, **SIZES}
    changes = method(overlong_buffer={}) | backbone(hub) | benchmark() | {"define.backbones.made": made}
    keys = {f"{section}.{key}".removeprefix("."): 1 for key in FORMER[section].split()}
    with pytest.raises(UserError) as caught:
        load_checked(changed(demo, changes | keys, {}), "mine.yaml")
    lines = str(caught.value).splitlines()
    for key in keys:
        expected = f"mine.yaml: {key}: there is no such key. Did you mean '{RENAMED[key.rpartition('.')[2]]}'?"
        assert any(line.startswith(expected) for line in lines), lines


# --- through Snakemake ---------------------------------------------------------------------------


def planned(*arguments: str) -> tuple[int, str, float]:
    """Exit status, output and CPU seconds of a dry run. Not by the clock: other tests may have the cores."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        [SNAKEMAKE, "-n", "all", *arguments], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return run.returncode, run.stdout + run.stderr, used


@pytest.mark.parametrize(
    "name", ["an adapter that evalscope lacks", "a setting that verl lacks", "checkpoints after the end"]
)
def test_snakemake_stops_within_ten_seconds(name, demo, places, tmp_path):
    changes, words = MISTAKES[name]
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(changed(demo, changes, places)))
    status, text, seconds = planned("--configfile", str(file))
    assert status != 0 and seconds < 10
    assert any(str(file) in line and all(word in line for word in words) for line in text.splitlines()), text
    assert "Traceback" not in text and "rule " not in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--config", "trainng=1"), "trainng: there is no such key. Did you mean 'training'?"),
        (("--configfile", "/nowhere/mine.yaml"), "/nowhere/mine.yaml"),
        (("--configfile", "config/methods.yaml"), "grpo: there is no such key"),
    ],
)
def test_snakemake_stops_for_its_own_arguments(arguments, expected):
    status, text, seconds = planned(*arguments)
    assert status != 0 and seconds < 10 and expected in text and "rule " not in text


def test_snakemake_stops_for_a_key_that_stands_twice(tmp_path):
    """Its own reader takes the last one in silence."""
    file = tmp_path / "mine.yaml"
    file.write_text((ROOT / "config" / "demo.yaml").read_text() + "\nmethods: [grpo]\n")
    status, text, seconds = planned("--configfile", str(file))
    assert status != 0 and seconds < 10 and "the key 'methods' appears twice" in text, text
