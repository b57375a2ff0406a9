"""Comparing answers with a time limit that holds.

verl calls the reward in threads, where math-verify's own time-out (a signal) does not work, and a
comparison that sympy cannot finish would stop the training for good. So the slow comparison runs in a
process of its own, which is killed and replaced when it takes too long.
"""

from __future__ import annotations

import atexit
import json
import select
import subprocess
import sys
import threading

from egpo.common.answers import answers_equivalent, normalize_answer

SECONDS = 20  # for one comparison; math-verify's own limits are shorter, and hold in the judge's main thread
SECONDS_TO_START = 120  # its first answer also takes the imports


class Judge:
    """A process that answers whether two answers are the same, one question at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._warm = False

    def same(self, candidate: str, truth: str) -> bool:
        """False too when the comparison takes longer than SECONDS or ends the process."""
        with self._lock:
            question = json.dumps([candidate, truth]).encode() + b"\n"
            try:
                return self._ask(question)
            except (BrokenPipeError, TimeoutError, json.JSONDecodeError):
                self.stop()
                return False

    def _ask(self, question: bytes) -> bool:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "egpo.verl_plugin.verifier_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
            self._warm = False
        process = self._process
        process.stdin.write(question)
        ready, _, _ = select.select([process.stdout], [], [], SECONDS if self._warm else SECONDS_TO_START)
        if not ready:
            raise TimeoutError
        self._warm = True
        return json.loads(process.stdout.readline())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


_JUDGE = Judge()
atexit.register(_JUDGE.stop)


def answers_equivalent_in_time(candidate: str, truth: str) -> bool:
    """egpo.common.answers.answers_equivalent, from any thread, and within SECONDS."""
    if normalize_answer(candidate) == normalize_answer(truth):
        return answers_equivalent(candidate, truth)  # decided on strings alone
    return _JUDGE.same(candidate, truth)


def _serve() -> None:
    for line in sys.stdin.buffer:
        candidate, truth = json.loads(line)
        answer = json.dumps(answers_equivalent(candidate, truth)).encode() + b"\n"
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
