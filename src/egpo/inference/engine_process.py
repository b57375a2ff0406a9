"""The vLLM process behind egpo.inference.engine: `python -m egpo.inference.engine_process <descriptor>`.

It receives (engine arguments, sampling arguments, min_room), then (number, messages, seed, logprobs) per request, and
sends (number, Answer) back. (None, None) says that the model is loaded, (None, text) why it cannot be, or why the
process ends. It ends on None, or when the other side closes.
"""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
from multiprocessing.connection import Connection
from typing import Any

from egpo.inference.engine import OUT_OF_MEMORY, Answer
from egpo.runtime import out_of_memory
from egpo.runtime.short_folder import short_folder

Request = tuple[int, list[dict[str, str]], int, bool]


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for the temporary files of this process, because vLLM does not delete all of them."""
    folder = tempfile.TemporaryDirectory(prefix="egpo-", dir=short_folder(), ignore_cleanup_errors=True)
    os.environ["TMPDIR"] = tempfile.tempdir = folder.name
    return folder


def receive(
    connection: Connection, inbox: queue.SimpleQueue[Request], folder: tempfile.TemporaryDirectory[str]
) -> None:
    """Pass requests on; after the last one, end the whole process at once."""
    try:
        while (request := connection.recv()) is not None:
            inbox.put(request)
    except (EOFError, OSError):
        pass
    folder.cleanup()
    os._exit(0)


def answer_of(output: Any) -> Answer:
    """The answer in a finished request of vLLM."""
    response = output.outputs[0]
    wanted = response.logprobs is not None
    return Answer(
        text=response.text,
        prompt_tokens=len(output.prompt_token_ids),
        tokens=len(response.token_ids),
        truncated=response.finish_reason == "length",
        token_ids=tuple(response.token_ids) if wanted else (),
        logprobs=tuple(response.logprobs.logprobs) if wanted else (),
    )


class Server:
    """Gives requests to vLLM's engine as they come, and sends each answer when it is finished."""

    def __init__(self, llm: Any, sampling: dict[str, Any], min_room: int, connection: Connection) -> None:
        self._engine = llm.llm_engine
        self._tokenizer = llm.get_tokenizer()
        self._context: int = llm.llm_engine.model_config.max_model_len
        self._max_num_seqs: int = llm.llm_engine.vllm_config.scheduler_config.max_num_seqs
        self._sampling = sampling
        self._min_room = min_room
        self._connection = connection

    def accept(self, request: Request) -> None:
        """Start a request, or send an answer with an error."""
        number, messages, seed, logprobs = request
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            # The text has the special tokens of the template.
            tokens = self._tokenizer.encode(text, add_special_tokens=False)
            room = self._context - len(tokens)
            if room < self._min_room:
                error = f"the prompt has {len(tokens)} tokens and leaves {max(room, 0)}, fewer than {self._min_room}"
                answer = Answer(prompt_tokens=len(tokens), error=error, overflow=True)
            else:
                parameters = self._parameters(seed, room, logprobs)
                self._engine.add_request(str(number), {"prompt_token_ids": tokens}, parameters)
                return
        except Exception as error:
            answer = Answer(error=f"{type(error).__name__}: {error}")
        self._connection.send((number, answer))

    def _parameters(self, seed: int, room: int, logprobs: bool) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            **{**self._sampling, "max_tokens": min(self._sampling["max_tokens"], room)},
            seed=seed,
            logprobs=0 if logprobs else None,  # 0: of the chosen token alone
            flat_logprobs=logprobs,
            skip_special_tokens=False,  # where </think> is a special token, it must stay in the text
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _wants_more(self, inbox: queue.SimpleQueue[Request]) -> bool:
        """Whether to take another request before the next step: enough wait for a place, or none is there.

        A whole trial may be asked at once, and to read all of its prompts takes seconds, in which nothing is generated.
        """
        taken = self._engine.get_num_unfinished_requests()
        return taken == 0 or (taken < 2 * self._max_num_seqs and not inbox.empty())

    def serve(self, inbox: queue.SimpleQueue[Request]) -> None:
        """Serve requests; never returns, as `receive` ends the process."""
        while True:
            while self._wants_more(inbox):
                self.accept(inbox.get())
            for output in self._engine.step():
                if output.finished:
                    self._connection.send((int(output.request_id), answer_of(output)))


def load(arguments: dict[str, Any]) -> Any:
    """Load the model into vLLM.

    Raises:
        ValueError: the model cannot be used; its message is for the user.
    """
    from vllm import LLM

    try:
        llm = LLM(**arguments)
    except ValueError as error:
        if "max_model_len" in str(error) or "max_seq_len" in str(error):
            raise ValueError(
                f"config/backbones.yaml: max_model_len: {arguments['max_model_len']} tokens are more than the model in "
                f"{arguments['model']} supports, or than the KV cache holds: lower it. vLLM says: {error}"
            ) from error
        raise
    tokenizer: Any = llm.get_tokenizer()
    if not tokenizer.chat_template:
        raise ValueError(f"{arguments['model']}: the tokenizer has no chat template, which prompts need.")
    return llm


def main(descriptor: int) -> None:
    connection = Connection(descriptor)
    arguments, sampling, min_room = connection.recv()
    inbox: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=receive, args=(connection, inbox, temporary_folder()), daemon=True).start()
    try:
        llm = load(arguments)
        connection.send((None, None))
        Server(llm, sampling, min_room, connection).serve(inbox)
    except ValueError as error:
        connection.send((None, str(error)))
        raise
    except Exception as error:
        if out_of_memory.says_so(f"{type(error).__name__}: {error}"):
            connection.send((None, f"{OUT_OF_MEMORY} {type(error).__name__}: {error}"))
        raise


if __name__ == "__main__":
    main(int(sys.argv[1]))
