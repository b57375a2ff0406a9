"""A real Slurm on this machine for the tests: munge, slurmctld, and several nodes with made-up GPUs.

Needs root and Debian's packages slurm-wlm and munge; with accounting also slurmdbd and mariadb-server. The GPUs are
device files like /dev/null: Slurm counts and assigns them, nothing can compute on them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from waiting import LIMIT, until

ETC = Path("/etc/slurm")
OURS = "# Made by the tests of egpo.\n"
NODES = {"gpu1": 4, "gpu2": 4, "cpu1": 0}  # made-up GPUs of each
PACKAGES = "slurm-wlm munge slurmdbd mariadb-server"

SLURM = """ClusterName=egpo
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MinJobAge=600
KillWait=30
ReturnToService=2
SlurmdTimeout=10
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{accounting}
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=40000{gres} State=UNKNOWN\n"
)
# Jobs of `urgent` take nodes from those of the partitions that are named after what then becomes of them.
PARTITIONS = """PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=5 PreemptMode=OFF
PartitionName=requeue Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=cancel Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
WITHOUT = "AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none"
WITH = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
JobAcctGatherType=jobacct_gather/linux
AccountingStoreFlags=job_comment"""
DATABASE = """AuthType=auth/munge
DbdHost={host}
DbdAddr=127.0.0.1
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StorageUser=slurm
StoragePass=of-the-tests
StorageLoc=slurm_acct_db
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""


def missing(accounting: bool) -> str | None:
    """Why Slurm cannot be started here; None if it can."""
    if os.geteuid() != 0:
        return "only root can start Slurm"
    needed = ["munged", "slurmctld", "slurmd", "sbatch", *(["slurmdbd", "mariadbd"] if accounting else [])]
    absent = [name for name in needed if not shutil.which(name)]
    if absent:
        return f"{', '.join(absent)} not found: apt-get install --no-install-recommends {PACKAGES}"
    conf = ETC / "slurm.conf"
    if conf.exists() and not conf.read_text().startswith(OURS):
        return f"{conf} belongs to a Slurm of this machine"
    return None


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT).stdout


class Cluster:
    """Slurm's daemons in the foreground, as children of this process."""

    def __init__(self, folder: Path, accounting: bool) -> None:
        self.folder, self.accounting, self.host = folder, accounting, socket.gethostname()
        self.daemons: dict[str, subprocess.Popen] = {}

    def spawn(self, name: str, *command: str, **how) -> None:
        log = (self.folder / f"{name}.out").open("ab")
        self.daemons[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **how)

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        daemon.wait(LIMIT)

    def configure(self) -> None:
        ETC.mkdir(exist_ok=True)
        devices = []
        for number in range(max(NODES.values())):
            devices.append(f"/dev/fakegpu{number}")
            if not Path(devices[-1]).exists():
                run("mknod", devices[-1], "c", "1", "3")
        accounting = WITH if self.accounting else WITHOUT
        text = OURS + SLURM.format(host=self.host, folder=self.folder, accounting=accounting)
        for number, (name, gpus) in enumerate(NODES.items()):
            gres = f" Gres=gpu:h100:{gpus}" if gpus else ""
            text += NODE.format(name=name, host=self.host, port=17001 + number, gres=gres)
        text += PARTITIONS
        (ETC / "slurm.conf").write_text(text)
        gpu_nodes = ",".join(name for name, gpus in NODES.items() if gpus)
        (ETC / "gres.conf").write_text(
            f"{OURS}AutoDetect=off\nNodeName={gpu_nodes} Name=gpu Type=h100 File={','.join(devices)}\n"
        )
        if self.accounting:
            (ETC / "slurmdbd.conf").write_text(OURS + DATABASE.format(host=self.host, folder=self.folder))
            (ETC / "slurmdbd.conf").chmod(0o600)

    def start(self) -> None:
        self.configure()
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        self.spawn(
            "munged", "setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "--foreground", "--force"
        )
        until("munge", lambda: subprocess.run(["munge", "-n"], capture_output=True).returncode == 0)
        if self.accounting:
            self.start_database()
        self.spawn("slurmctld", "slurmctld", "-D")
        self.revive()

    def revive(self) -> None:
        """Start the nodes that are down."""
        for name in NODES.keys() - self.daemons.keys():
            self.spawn(name, "slurmd", "-D", "-N", name)
        until("idle nodes", lambda: run("sinfo", "-h", "-t", "idle", "-o", "%D").split() == [str(len(NODES))])

    def start_database(self) -> None:
        data = self.folder / "mysql"
        run("mariadb-install-db", "--user=mysql", f"--datadir={data}", "--auth-root-authentication-method=normal")
        Path("/run/mysqld").mkdir(exist_ok=True)
        shutil.chown("/run/mysqld", "mysql", "mysql")
        self.spawn("mariadbd", "mariadbd", "--user=mysql", f"--datadir={data}", "--bind-address=127.0.0.1")
        sql = (
            "create database slurm_acct_db; "
            "grant all on slurm_acct_db.* to 'slurm'@'localhost' identified by 'of-the-tests'; "
            "grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1' identified by 'of-the-tests';"
        )
        until("MariaDB", lambda: subprocess.run(["mariadb", "-e", "select 1"], capture_output=True).returncode == 0)
        run("mariadb", "-e", sql)
        self.start_accounting()
        run("sacctmgr", "-i", "add", "cluster", "egpo")
        run("sacctmgr", "-i", "add", "account", "tests", "Cluster=egpo")
        run("sacctmgr", "-i", "add", "user", "root", "Account=tests")

    def start_accounting(self) -> None:
        self.spawn("slurmdbd", "slurmdbd", "-D")
        until("slurmdbd", lambda: subprocess.run(["sacctmgr", "-n", "show", "cluster"]).returncode == 0)

    def lose(self, node: str, job: str) -> None:
        """Take a node down as a power failure does: kill its daemon and all processes of the job on it."""
        self.end(node, signal.SIGKILL)
        for process in psutil.process_iter(["environ", "name"]):
            environment = process.info["environ"] or {}
            with suppress(psutil.NoSuchProcess):  # as a zombie is
                if environment.get("SLURM_JOB_ID") == job or f"[{job}." in " ".join(process.cmdline()):
                    process.kill()

    def begin_now(self, job: str) -> None:
        """Run a job that Slurm has put back into its queue at once, and not after its two minutes of pause."""
        until("a requeued job", lambda: run("squeue", "-h", "-j", job, "-o", "%T %r").strip() == "PENDING BeginTime")
        run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def cancel_all(self) -> None:
        subprocess.run(["scancel", "--user=root"], capture_output=True)

    def stop(self) -> None:
        self.cancel_all()
        for name in list(reversed(self.daemons)):
            self.end(name)
        for file in ("slurm.conf", "gres.conf", "slurmdbd.conf"):
            (ETC / file).unlink(missing_ok=True)


@contextmanager
def cluster(folder: Path, accounting: bool) -> Iterator[Cluster]:
    """A running Slurm with its files in `folder`."""
    made = Cluster(folder, accounting)
    try:
        made.start()
        yield made
    finally:
        made.stop()
