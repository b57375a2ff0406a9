"""Which jobs Snakemake would run now: a dry run through its API, in this process."""

from __future__ import annotations

import contextlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.logging import logger
from snakemake.settings.enums import RerunTrigger
from snakemake.settings.types import ConfigSettings, DAGSettings, ExecutionSettings, OutputSettings, ResourceSettings
from snakemake_interface_logger_plugins.common import LogEvent

from egpo.common.errors import UserError
from egpo.common.paths import ROOT, Model
from egpo.common.stages import STAGES, Stage
from egpo.config.files import read_yaml

CORES = 10_000  # with fewer, jobs would be shown with fewer threads than they ask for
PROFILE = ROOT / "profiles" / "default" / "config.yaml"


@dataclass(frozen=True)
class Job:
    """One job of a dry run.

    Attributes:
        gpus: on all of its nodes together.
        limit: its run time in hours.
    """

    rule: str
    wildcards: dict[str, str]
    threads: int
    gpus: int
    limit: float

    @property
    def model(self) -> Model:
        """Of a training, an evaluation or rollouts; of a milestone, that of its training."""
        return self.wildcards["backbone"], self.wildcards["method"], int(self.wildcards["seed"])

    @property
    def is_milestone(self) -> bool:
        """Whether it evaluates a model on the way of a training."""
        return "step" in self.wildcards

    @property
    def stage(self) -> Stage | None:
        """Its entry in the registry; None for a table, a figure or the report."""
        return STAGES.get(self.rule)

    @property
    def unit(self) -> str | None:
        """What a long job counts; None for a short one."""
        return self.stage.unit if self.stage else None

    @property
    def is_training(self) -> bool:
        return self.unit == "steps"


class _Events(logging.Handler):
    """Keeps what Snakemake logs: its jobs, and its errors."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.errors: list[str] = []

    def emit(self, record: Any) -> None:
        # Targets have no log, and do nothing.
        if getattr(record, "event", None) == LogEvent.JOB_INFO and record.log:
            needs = record.resources
            gpus, hours = int(needs.get("gpu", 0)), int(needs["runtime"]) / 60
            self.jobs.append(Job(record.rule_name, dict(record.wildcards), record.threads, gpus, hours))
        elif record.levelno >= logging.ERROR:
            self.errors.append(record.getMessage())


def dry_run(files: list[str], given: dict[str, Any], snakefile: Path = ROOT / "Snakefile") -> list[Job]:
    """The jobs of a dry run of `all` in the working directory; it takes no lock and prints nothing.

    Args:
        files: configuration files, as for `--configfile`.
        given: keys laid over them, as with `--config`.
        snakefile: the workflow.

    Raises:
        UserError: Snakemake refuses the workflow; with its message.
    """
    # The profile decides which finished jobs run again; the API reads no profile.
    profile = read_yaml(PROFILE)
    settings = DAGSettings(
        targets={"all"},
        force_incomplete=profile["rerun-incomplete"],
        rerun_triggers=RerunTrigger.parse_choices_set(profile["rerun-triggers"]),
    )
    events = _Events()
    with contextlib.redirect_stdout(sys.stderr), SnakemakeApi(OutputSettings(dryrun=True)) as api:
        logger.handlers[:] = [events]
        try:
            workflow = api.workflow(
                ResourceSettings(cores=CORES),
                config_settings=ConfigSettings(config=given, configfiles=[Path(file) for file in files]),
                snakefile=snakefile,
            )
            workflow.dag(settings).execute_workflow("dryrun", execution_settings=ExecutionSettings(lock=False))
        except Exception as error:
            api.print_exception(error)  # to the log, with the lines of the rules
            message = "\n".join(events.errors) or repr(error)
            raise UserError(f"Snakemake cannot plan `all`; fix this first:\n{message}") from error
    return events.jobs
