"""Tokenizer and chat template of the synthetic backbones: a small byte-level BPE like Qwen2's."""

from __future__ import annotations

from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from egpo.data.verl_rows import prompt
from egpo.synthetic.choices import choice_prompt
from egpo.synthetic.problems import correct_generation, draw_problem

END_OF_TEXT, TURN, END_OF_TURN, THINK, END_OF_THINK = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
)
# Qwen2's pre-tokenization: every digit is a separate token.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\nOPENING' }}{% endif %}"
)
VOCABULARY = 640


def make_tokenizer(thinks: bool, seed: int, context: int) -> PreTrainedTokenizerFast:
    """A tokenizer trained on the training wordings.

    Args:
        thinks: whether the chat template opens `<think>` for the model, as DeepSeek-R1-Distill's does.
        context: model_max_length, in tokens.
    """
    rng = Random(seed)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, TURN, END_OF_TURN, THINK, END_OF_THINK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    problems = [draw_problem(rng, "train") for _ in range(4000)]
    texts = [prompt(problem.text)[0]["content"] + "\n" + correct_generation(problem, rng) for problem in problems]
    choices = choice_prompt(problems[0])[0]["content"]  # often enough that its words become tokens
    tokenizer.train_from_iterator([*texts, *[choices] * 400, "user", "assistant"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        model_max_length=context,
        chat_template=CHAT.replace("OPENING", THINK + "\\n" if thinks else ""),
        clean_up_tokenization_spaces=False,
    )
