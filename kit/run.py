"""Run the kit's steps in order, each in a process with a time limit.

    python -m kit.run --platform cuda --work FOLDER --out FOLDER [--skip STEP ...] [--only STEP ...]

Every result is written at once to out/results.jsonl and out/page.md. If a step fails or takes too long, its traceback
or the end of its log is written there too, and the next step runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from egpo.runtime.processes import SET_PDEATHSIG, prctl
from kit import results

# Seconds for each step, in the order in which they run.
STEPS = {"versions": 120, "logprobs": 240, "train": 600, "evaluate": 300, "paper_size": 480, "attention": 300}
# A factor: a CPU of two cores takes longer, though models and batches are smaller.
PATIENCE = {"cuda": 1, "cpu": 3}
LAST_LINES = 25  # of the log of a step that was ended


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kit.run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--platform", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument(
        "--work", type=Path, required=True, help="models, data and trainings; can be removed afterwards"
    )
    parser.add_argument("--out", type=Path, required=True, help="results.jsonl, page.md and a log of each step")
    parser.add_argument("--skip", nargs="+", choices=STEPS, default=[], metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP", help="skip all others")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all steps together")
    return parser.parse_args(arguments)


def environment(platform: str) -> dict[str, str]:
    added = {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if platform == "cpu":
        added |= {"CUDA_VISIBLE_DEVICES": "", "VLLM_TARGET_DEVICE": "cpu"}
    return {**os.environ, **added}


def command(step: str, chosen: argparse.Namespace) -> list[str]:
    folders = ["--work", str(chosen.work.absolute()), "--out", str(chosen.out.absolute())]
    return [sys.executable, "-m", f"kit.steps.{step}", "--platform", chosen.platform, *folders]


def run_step(step: str, chosen: argparse.Namespace, limit: float) -> str:
    """Run one step, at most for `limit` seconds; returns the state in which it ended."""
    log = chosen.out / f"{step}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command(step, chosen),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(chosen.platform),
            start_new_session=True,
            preexec_fn=lambda: prctl(SET_PDEATHSIG, signal.SIGKILL),  # ends with a runner that is killed
        )
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            return results.TIMED_OUT
        finally:
            end_session(process)
    return results.OK if code == 0 else results.FAILED


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a step. Trainings and vLLM watch the process that started them, and end with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def record_end(step: str, state: str, seconds: float, out: Path) -> None:
    """Record the end of a step; if it failed without recording an error, also the end of its log."""
    recorded = any(line["kind"] == "error" for line in results.last_run(results.read(out), step))
    if state not in (results.OK, results.LEFT_OUT) and not recorded:
        lines = (out / f"{step}.log").read_text(errors="replace").splitlines()[-LAST_LINES:]
        error = {"step": step, "kind": "error", "name": "the end of its log", "traceback": "\n".join(lines)}
        results.append(out, error)
    results.append(out, {"step": step, "kind": "end", "state": state, "seconds": seconds})


def main(arguments: list[str] | None = None) -> int:
    chosen = parse(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    chosen.work.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + chosen.seconds
    states = []
    for step in (name for name in STEPS if name in chosen.only and name not in chosen.skip):
        start = time.monotonic()
        limit = min(STEPS[step] * PATIENCE[chosen.platform], end - start)
        print(f"{step}: at most {max(limit, 0):.0f} s", flush=True)
        results.append(chosen.out, {"step": step, "kind": "start"})
        states.append(run_step(step, chosen, limit) if limit > 0 else results.LEFT_OUT)
        seconds = time.monotonic() - start
        print(f"{step}: {states[-1]} after {seconds:.0f} s", flush=True)
        record_end(step, states[-1], seconds, chosen.out)
    print(f"results: {chosen.out / results.PAGE}")
    return int(any(state != results.OK for state in states))


if __name__ == "__main__":
    sys.exit(main())
