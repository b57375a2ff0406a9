"""Error messages for a configuration file: key, value, and what is allowed there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

# Former names of keys, with their present ones, which are verl's and Hugging Face's terms.
RENAMED = {
    "prompts_per_step": "train_batch_size",
    "rollouts": "rollouts_per_prompt",
    "steps": "total_training_steps",
    "epochs": "total_epochs",
    "save_every": "save_freq",
    "validate_every": "test_freq",
    "rollout_memory": "gpu_memory_utilization",
    "verl": "overrides",
    "context": "max_model_len",
    "prompt_tokens": "max_prompt_length",
    "response_tokens": "max_response_length",
    "evaluation_tokens": "max_evaluation_length",
    "least_evaluation_tokens": "min_evaluation_length",
    "items": "num_questions",
    "shots": "num_fewshot",
    "concurrency": "max_num_seqs",
    "also_evaluate": "extra_models",
    "most_batches": "max_num_gen_batches",
    "clip_low": "clip_ratio_low",
    "clip_high": "clip_ratio_high",
    "clip_dual": "clip_ratio_c",
    "overlong": "overlong_buffer",
    "buffer": "len",
    "penalty": "penalty_factor",
    "permutations": "num_perm",
    "shingle": "ngram_size",
    "batch": "batch_size",
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "width": "hidden_size",
    "intermediate": "intermediate_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "vocabulary": "vocab_size",
    "tied": "tie_word_embeddings",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that suggests a known word: the present name of `word`, or the closest one; empty without any."""
    known = list(known)
    renamed = RENAMED.get(word)
    close = [renamed] if renamed in known else difflib.get_close_matches(word, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


# Tags of choices: pydantic has them in the location of an error, but they are not keys of the file.
TAGS = {"hub", "local", "synthetic", "standin", "problems", "Quotas", "Rows", "[key]"}
PATTERNS = {
    "^[a-z0-9]": "a name consists of lower-case letters, digits, '.', '_' and '-', and begins with a letter or digit",
    r"^[\w.-]+/": "the name of a model or dataset on the Hub is owner/name",
    "^https?": "an address begins with http:// or https://",
    "^[A-Z_]": "give the name of an environment variable, in capitals",
    "^(none": "allowed are none, entropy, and file.py:function",
    "^[^A-Z]": "write it in lower case",
    "^[^_|$": "a label is one line of text without '|' and '$', and begins with no '_'",
}


def _keys_of(model: type[BaseModel], location: tuple[int | str, ...]) -> dict[str, Any]:
    """The JSON schemas of the keys at a location of `model`; empty where any key is allowed."""
    schema = model.model_json_schema()

    def resolve(node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return node

    node = resolve(schema)
    for part in location:
        choices = [*node.get("anyOf", []), *node.get("oneOf", [])]
        named = node.get("discriminator", {}).get("mapping", {}).get(part, f"#/$defs/{part}")
        if part in node.get("properties", {}):
            node = node["properties"][part]
        elif "items" in node:  # a list
            node = node["items"]
        elif {"$ref": named} in choices:
            node = {"$ref": named}
        elif choices:  # an optional section
            node = resolve(choices[0]).get("properties", {}).get(part, {})
        else:  # a mapping of names to sections
            node = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties") or {})
        node = resolve(node)
    if "properties" not in node and "anyOf" in node:
        node = resolve(node["anyOf"][0])
    return node.get("properties", {})


def _remedy(error: Mapping[str, Any]) -> str:
    """What is allowed, in terms of YAML where pydantic's message is in terms of Python."""
    if error["type"] == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        return next((words for start, words in PATTERNS.items() if pattern.startswith(start)), error["msg"])
    if error["type"] in ("tuple_type", "list_type"):
        return f"write a list: [{error['input']}]"
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "write keys with values"
    if error["type"] == "too_short":
        return "give at least one entry"
    return error["msg"].removeprefix("Value error, ")


def describe_error(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    """An error of pydantic's as one line: key, value, and what is allowed there."""
    place = error["loc"]
    key = ".".join(str(part) for part in place if part not in TAGS) or "(top level)"
    if error["type"] == "extra_forbidden":
        known = _keys_of(model, place[:-1])
        return f"{key}: there is no such key.{did_you_mean(str(place[-1]), known)} Allowed here: {', '.join(known)}."
    if error["type"] == "missing":
        means = _keys_of(model, place[:-1]).get(place[-1], {}).get("description", "")
        return f"{key}: this key is missing.{f' Add it: {means}' if means else ' Add it.'}"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kinds = ", ".join(_keys_of(model, place[:-1])[place[-1]]["discriminator"]["mapping"])
        given = error.get("ctx", {}).get("tag")
        what = f"{given!r} is not allowed" if given else "this key is missing"
        return f"{key}.kind: {what}: allowed are {kinds}."
    value = "" if isinstance(error["input"], dict) else f"{error['input']!r} is not allowed: "
    return f"{key}: {value}{_remedy(error)}."
