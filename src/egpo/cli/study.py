"""`egpo study`: train what a study has no row of yet, and append the rows to its CSV."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from egpo.analysis.frozen import deviations
from egpo.analysis.frozen import freeze as plan_of
from egpo.common.errors import UserError
from egpo.common.files import read_json, write_json
from egpo.common.paths import ROOT, Paths
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.config.frozen import Frozen
from egpo.config.section import parse
from egpo.runtime import lease
from egpo.runtime.processes import end_with_parent
from egpo.runtime.without_torch import without_torch
from egpo.training.cpu import cpu_environment
from egpo.training.process import DEFAULTS, OWN_RAY

MOST_TRIALS = 9  # each question's right answers are a digit in the CSV


def page(catalogue: Catalogue, out: Path, file: Path) -> int:
    """Write the tables of the rows in `out` into a page, and the figures beside the rows.

    Raises:
        UserError: the CSV or the page is not as expected.
    """
    from egpo.study.checked import read_rows, read_steps
    from egpo.study.page import Study, write

    plan = _plan(catalogue) or plan_of(catalogue, "")  # so far a draft
    write(Study(catalogue, read_rows(out, catalogue), read_steps(out), plan), file, out.parent)
    print(f"{file}, with figures in {out.parent}")
    return 0


def _plan(catalogue: Catalogue) -> Frozen | None:
    """The frozen plan, where there is one."""
    name = catalogue.experiment.claims
    return parse(Frozen, read_yaml(ROOT / name), name) if name else None


def power(catalogue: Catalogue, out: Path, gain: float) -> int:
    """Print how many training seeds a difference of `gain` points needs, by the rows in `out`.

    Raises:
        UserError: no pair of methods has two seeds in common.
    """
    from egpo.study import pilot
    from egpo.study.checked import read_rows

    found = list(pilot.lines(read_rows(out, catalogue), gain, len(catalogue.experiment.evaluation.seeds)))
    if not found:
        raise UserError(f"{out}: no two methods have two seeds in common: run the pilot first.")
    print("\n".join(found))
    return 0


def study(
    catalogue: Catalogue,
    files: Sequence[str],
    out: Path,
    methods: Sequence[str] | None,
    seeds: Sequence[int] | None,
    at_once: int,
    commit: bool,
) -> int:
    """Train and measure; arguments as of the command line.

    Raises:
        UserError: the experiment is none that a study can run, or its data or models are not there.
    """
    experiment, paths = catalogue.experiment, Paths(catalogue.experiment.experiment)
    methods = tuple(dict.fromkeys(methods or experiment.methods))  # named twice, it would be trained twice at once
    seeds = tuple(dict.fromkeys(seeds or experiment.training_seeds))
    if unknown := [name for name in methods if name not in catalogue.methods]:
        raise UserError(f"--methods: {', '.join(unknown)}: no such method. Known: {', '.join(catalogue.methods)}.")
    _check(catalogue, files)
    _check_csvs(catalogue, out)
    questions = paths.root / "study" / "questions.json"
    request = paths.root / "study" / "request.json"
    with lease.hold(paths.root / "driver", print, _refuse):
        _write_questions(catalogue, questions)
        chosen = ["--methods", *methods, "--seeds", *map(str, seeds)]
        values = {
            "catalogue": catalogue.model_dump(mode="json"),
            "out": str(out),
            "questions": str(questions),
            "methods": methods,
            "seeds": seeds,
            "at_once": at_once,
            "commit": commit,
            "command": " ".join(["egpo study", *files, "--out", os.path.relpath(out, ROOT), *chosen]),
        }
        write_json(request, values)
        os.environ["OMP_NUM_THREADS"] = str(experiment.jobs.train.cpus)  # as Snakemake does
        environment = {**DEFAULTS, **os.environ, **OWN_RAY, **cpu_environment()}
        return _wait(start(request, environment))


def start(request: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the trainings of a request. They are asked to save and end when this process ends, however it does."""
    me = os.getpid()
    return subprocess.Popen(
        [sys.executable, "-m", "egpo.study.run", str(request)],
        env=environment,
        preexec_fn=lambda: end_with_parent(me, signal.SIGTERM),
    )


def _refuse(entry: dict[str, Any]) -> str:
    return f"{lease.describe(entry)} runs this experiment already: wait for it, or end it."


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the trainings; SIGTERM goes on to them, and so does an interrupt, which the terminal sends to both."""
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def _check(catalogue: Catalogue, files: Sequence[str]) -> None:
    experiment, paths = catalogue.experiment, Paths(catalogue.experiment.experiment)
    source = " ".join(files)
    if experiment.training.platform != "cpu" or experiment.evaluation.platform != "cpu":
        raise UserError(
            f"{source}: training.platform: a study forks its trainings, which GPUs do not survive: use cpu."
        )
    if (plan := _plan(catalogue)) is not None and (found := deviations(plan, catalogue)):
        raise UserError(
            f"{source}: claims: not as planned in {experiment.claims} ({found[0]}). Rows of two plans must not mix: "
            "restore the setting, or freeze another plan for another experiment."
        )
    if len(experiment.evaluation.seeds) > MOST_TRIALS:
        raise UserError(f"{source}: evaluation.seeds: a study has at most {MOST_TRIALS} trials of each question.")
    needed = [paths.output("data_pool", "train"), paths.output("benchmark_make")]
    needed += [paths.backbone(name) / "manifest.json" for name in experiment.backbones]
    if missing := [str(file) for file in needed if not file.exists()]:
        raise UserError(
            f"{missing[0]}: is not there yet. Run first: snakemake {' '.join(missing)} --configfile {source}"
        )
    for name in experiment.backbones:
        manifest = paths.backbone(name) / "manifest.json"
        made = read_json(manifest)
        if not made.get("in_range", True):  # of a synthetic backbone; the workflow goes on from it, with a warning
            raise UserError(
                f"{manifest}: the warm-up of {name} has missed its range, so the trainings would not start in the "
                f"regime that the study is about: {made['found']}"
            )


def _check_csvs(catalogue: Catalogue, out: Path) -> None:
    """Before the first training: what is there already can be read and added to."""
    from egpo.study.checked import read_rows, read_steps

    read_rows(out, catalogue)
    read_steps(out)


def _write_questions(catalogue: Catalogue, file: Path) -> None:
    """The prompts and references of all benchmarks, as evalscope reads them."""
    with without_torch():
        from egpo.evaluation.harness import as_messages, read_samples

        paths = Paths(catalogue.experiment.experiment)
        found = {}
        for name, benchmark in catalogue.benchmarks.items():
            samples = read_samples(name, benchmark, paths.benchmark(name))
            found[name] = [
                {"messages": as_messages(sample.input), "target": str(sample.target)}
                for part in samples.values()
                for sample in part
            ]
    write_json(file, found)
