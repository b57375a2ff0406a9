"""Trainings on several nodes: the check before Ray starts. tests/test_slurm.py runs one on a real Slurm."""

from __future__ import annotations

import pytest

from egpo.common.errors import UserError
from egpo.training import nodes


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch):
    for name in (nodes.ADDRESS, nodes.JOB):
        monkeypatch.delenv(name, raising=False)


def test_one_node_needs_nothing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    nodes.check_nodes(1)


def test_several_without_slurm_are_refused():
    with pytest.raises(UserError, match=r"training\.nodes: 2 nodes, but this job has 1\. Run with --profile slurm"):
        nodes.check_nodes(2)


def test_a_running_ray_is_used(monkeypatch):
    monkeypatch.setenv(nodes.ADDRESS, "10.0.0.1:6379")
    nodes.check_nodes(2)


def test_the_nodes_of_a_job_are_those_that_squeue_reports(monkeypatch, tmp_path):
    """A script named squeue replaces Slurm's."""
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 2 16\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv(nodes.JOB, "7")
    nodes.check_nodes(2)
    with pytest.raises(UserError, match="3 nodes, but this job has 2"):
        nodes.check_nodes(3)
    monkeypatch.setenv("EGPO_RUN_FOLDER", "/tmp/egpo-x")
    command = nodes._worker("10.0.0.1:6379", 2, 4)
    assert {"--relative=1", "--nodes=1", "--ntasks=1", "--cpus-per-task=8", "--gpus-per-node=4"} <= set(command)
