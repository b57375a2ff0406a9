"""Comparing answers with a time limit, from any thread.

verl calls the reward in threads, where math-verify's time limit (a signal) does not work, and a comparison that sympy
cannot finish would stop the training forever. So slow comparisons run in another process, which is killed and replaced
when it takes too long.
"""

from __future__ import annotations

import atexit
import json
import select
import subprocess
import sys
import threading

from egpo.common.answers import answers_equivalent, equivalent_as_text

SECONDS = 20  # for one comparison; math-verify's limits are shorter, and work in the main thread of the process
SECONDS_TO_START = 120  # for the first comparison, with the imports


class VerifierProcess:
    """A process that compares pairs of answers, one at a time. It is started at the first comparison."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._warm = False

    def equivalent(self, candidate: str, truth: str) -> bool:
        """Whether the answers are equivalent; False if the comparison takes too long or ends the process."""
        with self._lock:
            try:
                return self._compare(json.dumps([candidate, truth]).encode() + b"\n")
            except (BrokenPipeError, TimeoutError, json.JSONDecodeError):
                self.stop()
                return False

    def _compare(self, pair: bytes) -> bool:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "egpo.verl_plugin.verifier_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
            self._warm = False
        asked, answered = self._process.stdin, self._process.stdout
        assert asked and answered, "both are pipes"
        asked.write(pair)
        ready, _, _ = select.select([answered], [], [], SECONDS if self._warm else SECONDS_TO_START)
        if not ready:
            raise TimeoutError
        self._warm = True
        return json.loads(answered.readline())

    def stop(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


_VERIFIER = VerifierProcess()
atexit.register(_VERIFIER.stop)


def answers_equivalent_in_time(candidate: str, truth: str) -> bool:
    """egpo.common.answers.answers_equivalent from any thread; False for a comparison longer than SECONDS."""
    same = equivalent_as_text(candidate, truth)
    return _VERIFIER.equivalent(candidate, truth) if same is None else same


def _serve() -> None:
    """Answer each line of standard input, a JSON pair, by true or false."""
    for line in sys.stdin.buffer:
        candidate, truth = json.loads(line)
        answer = json.dumps(answers_equivalent(candidate, truth)).encode() + b"\n"
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
