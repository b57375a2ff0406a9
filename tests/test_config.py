"""Configuration: what is accepted, and what each error says."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest
import yaml

from egpo.cli.check import check
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.experiment import Experiment
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.config.messages import RENAMED
from egpo.config.methods import Calibration
from egpo.config.schemas import schemas, write_schemas


def message(values: dict) -> str:
    with pytest.raises(UserError) as caught:
        load(values, "config/demo.yaml")
    return str(caught.value)


def test_both_experiments_are_valid_and_the_paper_is_whole():
    load(read_yaml(ROOT / "config/demo.yaml"), "config/demo.yaml")
    paper = load(read_yaml(ROOT / "config/paper.yaml"), "config/paper.yaml")
    assert list(paper.backbones) == ["qwen2.5-math-1.5b", "deepseek-r1-1.5b", "qwen2.5-math-7b", "deepseek-r1-7b"]
    assert paper.experiment.methods == ("grpo", "dapo", "edge_grpo", "egpo")
    assert paper.experiment.ablations.methods == ("c1", "c2", "c3", "c4", "c5", "c6")
    assert len(paper.experiment.evaluation.seeds) == 8
    assert {name: benchmark.num_questions for name, benchmark in paper.benchmarks.items()} == {
        "math_500": 500,
        "aime24": 30,
        "mmlu_stem": 3018,
        "minerva": 272,
        "gsm8k": 1319,
    }
    assert len(paper.benchmarks["mmlu_stem"].subsets) == 18


def test_paper_has_770_steps():
    """5 epochs over 10,000 - 128 rows, 8 of them too long, in batches of 64 (equations.md)."""
    experiment = load(read_yaml(ROOT / "config/paper.yaml"), "config/paper.yaml").experiment
    rows = experiment.data.quotas.total - experiment.data.validation_rows - 8
    assert experiment.training.total_epochs * (rows // experiment.training.train_batch_size) == 770


def test_misspelt_key_names_file_key_and_remedy(demo):
    demo["training"]["rollouts_per_promt"] = demo["training"].pop("rollouts_per_prompt")
    text = message(demo)
    assert (
        "config/demo.yaml: training.rollouts_per_promt: there is no such key. Did you mean 'rollouts_per_prompt'?"
        in text
    )
    assert "config/demo.yaml: training.rollouts_per_prompt: this key is missing" in text


def test_misspelt_key_inside_a_choice(demo):
    demo["data"]["source"]["default_row"] = 5
    assert "data.source.default_row: there is no such key. Did you mean 'default_rows'?" in message(demo)


def test_value_out_of_range_shows_the_value(demo):
    demo["training"]["rollouts_per_prompt"] = 1
    assert "training.rollouts_per_prompt: 1 is not allowed: Input should be greater than or equal to 2" in message(demo)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("methods", ["egpo", "gpro"], "methods: 'gpro' is not an entry of config/methods.yaml. Did you mean 'grpo'?"),
        ("backbones", ["tiny-mat"], "'tiny-mat' is not an entry of config/backbones.yaml. Did you mean 'tiny-math'?"),
        ("benchmarks", ["gsm9k"], "'gsm9k' is not an entry of config/benchmarks.yaml. Did you mean 'gsm8k'?"),
        ("methods", ["egpo", "egpo"], "methods: an entry is listed twice"),
        ("methods", ["base"], "'base' is the untrained backbone"),
    ],
)
def test_unknown_names(demo, key, value, expected):
    demo[key] = value
    assert expected in message(demo)


def test_seeds_of_two_trials_must_differ(demo):
    demo["evaluation"]["seeds"] = [3, 3]
    assert "evaluation.seeds: a seed is listed twice" in message(demo)


def test_steps_and_epochs_exclude_each_other(demo):
    demo["training"]["total_epochs"] = 2
    assert "give exactly one of total_epochs and total_training_steps" in message(demo)


def test_pool_smaller_than_a_batch(demo):
    demo["data"]["quotas"] = {"default_mixed": 70, "default_correct": 0, "extended_mixed": 0, "extended_correct": 0}
    assert "are fewer than training.train_batch_size 32" in message(demo)


def test_entropies_need_rows_held_out(demo):
    demo["data"]["heldout_rows"] = 0
    assert "config/demo.yaml: data.heldout_rows: 0, but `uncertainty` needs held-out rows" in message(demo)


def own_backbone(path: str) -> dict:
    sizes = {"max_model_len": 512, "max_prompt_length": 256, "max_response_length": 64, "max_evaluation_length": 64}
    return {"label": "own", "source": {"kind": "local", "path": path}, **sizes}


def test_backbone_folder_that_does_not_exist(demo):
    demo["define"] = {"backbones": {"own": own_backbone("/nowhere/model")}}
    demo["backbones"] = ["own"]
    expected = "config/demo.yaml: define.backbones.own.source.path: '/nowhere/model' is not a folder."
    assert expected in message(demo)


def test_backbone_folder_that_holds_no_model(demo, tmp_path):
    demo["define"] = {"backbones": {"own": own_backbone(str(tmp_path))}}
    demo["backbones"] = ["own"]
    assert "has no config.json" in message(demo)
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text("{}")
    for name in ("model.safetensors", "chat_template.jinja"):
        (tmp_path / name).touch()
    assert list(load(demo, "config/demo.yaml").backbones) == ["own", "tiny-math"]


def test_response_that_leaves_no_room_for_a_prompt(demo):
    demo["define"] = {"backbones": {"own": own_backbone("x") | {"max_response_length": 512}}}
    assert "max_response_length 512 leaves no room for a prompt in max_model_len 512" in message(demo)


def test_an_experiment_may_define_its_own_method(demo):
    demo["define"] = {"methods": {"mine": {"label": "Mine", "calibration": {"weight": "entropy", "lam_max": 1.5}}}}
    demo |= {"methods": ["mine"], "main_method": "mine"}
    assert load(demo, "config/demo.yaml").methods["mine"].calibration.lam_max == 1.5


@pytest.mark.parametrize("calibration", [{"control": "random_reward"}, {"control": "nsr_only", "nsr": True}])
def test_an_experiment_may_define_controls_without_weights(demo, calibration):
    demo["define"] = {"methods": {"mine": {"label": "Control: mine", "calibration": calibration}}}
    check(load(demo | {"methods": ["mine"], "main_method": "mine"}, "mine.yaml"), "mine.yaml")


def test_clamp_must_hold_one(demo):
    """Eq. (8) needs lam_min <= 1 <= lam_max."""
    demo["define"] = {"methods": {"mine": {"label": "Mine", "calibration": {"lam_min": 1.2}}}}
    assert "define.methods.mine.calibration.lam_min: 1.2 is not allowed" in message(demo)


def test_broken_yaml_and_missing_file(tmp_path):
    file = tmp_path / "mine.yaml"
    with pytest.raises(UserError, match="there is no such file"):
        read_yaml(file)
    file.write_text("a: [1, 2\nb: 3")
    with pytest.raises(UserError, match="not valid YAML"):
        read_yaml(file)
    file.write_text("- just\n- a list")
    with pytest.raises(UserError, match="expected keys with values, found list"):
        read_yaml(file)


def test_committed_schemas_are_current(tmp_path):
    """The schemas in config/schemas/ are those of the code."""
    write_schemas(tmp_path)
    for file in sorted(tmp_path.iterdir()):
        assert file.read_text() == (ROOT / "config" / "schemas" / file.name).read_text(), "run `make schemas`"
    assert "train_batch_size" in json.dumps(Experiment.model_json_schema())


def test_the_variant_that_the_docs_show_is_valid(demo):
    text = (ROOT / "docs" / "methods.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    catalogue = load(demo | yaml.safe_load(example), "docs/methods.md")
    assert catalogue.methods["egpo-answer-narrow"].calibration.scope == "answer"


def test_the_docs_name_every_option_and_its_default():
    text = (ROOT / "docs" / "methods.md").read_text()
    for name, field in Calibration.model_fields.items():
        (row,) = re.findall(rf"^\| .*`{name}`.*$", text, flags=re.MULTILINE)
        default = {False: "false"}.get(field.default, str(field.default))
        assert default.replace("e-05", "e-5") in row, row
        assert all(value in row for value in get_args(field.annotation)), row


def test_the_docs_name_every_key_of_an_experiment_and_every_file():
    text = (ROOT / "config" / "README.md").read_text()
    named = {
        name for row in re.findall(r"^\|([^|]*)\|", text, flags=re.MULTILINE) for name in re.findall("`(.+?)`", row)
    }
    assert not Experiment.model_fields.keys() - named
    assert not {file.name for file in (ROOT / "config").glob("*.yaml")} - named


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("backbone", "tiny-think", "ablations.backbone: 'tiny-think' is not one of this experiment's backbones"),
        ("benchmarks", ["gsm8k"], "'gsm8k' is not one of this experiment's benchmarks. They are: synthetic_math_500"),
        ("methods", ["c7"], "ablations.methods: 'c7' is not an entry of config/methods.yaml"),
    ],
)
def test_ablations_belong_to_their_experiment(demo, key, value, expected):
    ablations = {"backbone": "tiny-math", "methods": ["c1"], "benchmarks": ["synthetic_gsm8k"], key: value}
    assert expected in message(demo | {"ablations": ablations})


def test_overlong_shaping_is_rejected_where_rewards_must_be_binary(demo):
    method = {"label": "x", "calibration": {"nsr": True}, "overlong_buffer": {"len": 8}}
    text = message(demo | {"define": {"methods": {"mine": method}}})
    assert "define.methods.mine" in text and "take out overlong" in text


def sections() -> dict[str, set[str]]:
    """The keys of each section of the configuration."""
    found = {}
    for schema in schemas().values():
        for name, section in ({"": schema} | schema["$defs"]).items():
            found[name] = found.get(name, set()) | set(section.get("properties", {}))
    return found


@pytest.mark.parametrize("old", RENAMED)
def test_a_renamed_key_is_gone_and_its_new_name_exists(old):
    with_new = {name for name, keys in sections().items() if RENAMED[old] in keys}
    with_old = {name for name, keys in sections().items() if old in keys}
    assert with_new
    steps = {"WarmUp", "SupervisedWarmUp"} if old == "steps" else set()
    assert with_old == steps, "a warm-up has steps; no other section has an old key"
