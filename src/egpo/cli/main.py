"""The console script `egpo`: what a person asks about an experiment before and beside a run of Snakemake."""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egpo.cli.check import check_encoding, load_checked
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.experiment import Catalogue
from egpo.config.files import DEFAULT_CONFIG, merged, parse_yaml, read_files


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        files: configuration files, each laid over those before it.
        given: keys of `--config`, laid over the files.
        more: options of single commands.
    """

    files: list[str]
    given: dict[str, Any]
    more: dict[str, Any]

    @property
    def source(self) -> str:
        """How messages name the configuration."""
        return " + ".join([*self.files, *(["--config"] if self.given else [])])

    def catalogue(self) -> Catalogue:
        """The experiment, with every check. Raises UserError."""
        return load_checked(merged(read_files(self.files), self.given), self.source)


# --- the commands: each prints its page and returns the exit code ------------------------------------


def check(request: Request) -> int:
    """Check the configuration, in seconds; nothing runs."""
    request.catalogue()
    print(f"{request.source}: no mistakes found.")
    return 0


def plan(request: Request) -> int:
    """Show which jobs would run now, their hours, GPUs and disk, and what will not fit."""
    from egpo.cli.plan.page import plan

    print(plan(request.catalogue(), request.files, request.given))
    return 0


def status(request: Request) -> int:
    """Show how far the experiment is, and why jobs ended without a result."""
    from egpo.cli.status.page import status

    print(status(request.catalogue()))
    return 0


def doctor(request: Request) -> int:
    """Check that this machine can run the experiment; each problem is shown with its remedy."""
    from egpo.cli.doctor.examination import doctor

    return 0 if doctor(request.catalogue(), request.files, request.more["slurm"]) else 1


def fetch(request: Request) -> int:
    """Fetch what the experiment reads from the Hugging Face Hub; everything else then runs without a network."""
    from egpo.cli.fetch import fetch

    return fetch(request.files, request.given)


def power(request: Request) -> int:
    """Show what the experiment can find, and how many training seeds a gain needs; nothing runs."""
    from egpo.cli.power import Stated, run

    given = request.more
    stated = Stated(given["sd_seed"], given["sd_question"], given["accuracy"])
    return run(request.catalogue(), given["gain"], given["first"], given["second"], stated)


def freeze(request: Request) -> int:
    """Write down what the experiment will test, with a hash and the date, before it is run."""
    from egpo.cli.freeze import freeze

    return freeze(request.catalogue(), request.more["out"])


def bundle(request: Request) -> int:
    """Copy the results of a finished experiment to a folder that others can check, with cards and hashes."""
    from egpo.cli.bundle.make import bundle

    return bundle(request.catalogue(), request.more["out"], request.more["push"])


def study(request: Request) -> int:
    """Train and measure what a study has no row of yet, one training after the other, and append the rows to a CSV."""
    from egpo.cli.study import page, power, study

    given = request.more
    if given["page"]:
        return page(request.catalogue(), given["out"], given["page"])
    if given["power"]:
        return power(request.catalogue(), given["out"], given["power"])
    chosen = {name: given[name] for name in ("out", "methods", "seeds", "at_once", "commit")}
    return study(request.catalogue(), request.files, **chosen)


COMMANDS = {command.__name__: command for command in (check, plan, status, doctor, fetch, power, freeze, bundle, study)}

# --- the command line --------------------------------------------------------------------------------


def _key_value(text: str) -> tuple[str, Any]:
    """`key=value`, with the value as YAML reads it."""
    match = re.fullmatch(r"([A-Za-z_]\w*)=(.*)", text, flags=re.DOTALL)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not key=value. Files stand before --config; of a section write 'training={{platform: cpu}}'"
        )
    try:
        return match[1], parse_yaml(match[2], f"'{text}'")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    whole = argparse.ArgumentParser(prog="egpo", description="Commands around an experiment of this repository.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        one.add_argument(
            "files",
            nargs="*",
            metavar="CONFIG",
            help=f"configuration files, each laid over those before it (default: {DEFAULT_CONFIG})",
        )
        one.add_argument(
            "--config",
            nargs="+",
            action="extend",
            default=[],
            type=_key_value,
            metavar="KEY=VALUE",
            help="keys laid over the files, as Snakemake's --config",
        )
        if command is doctor:
            one.add_argument("--slurm", action="store_true", help="the experiment will run with --profile slurm")
        if command is power:
            _add_power(one)
        if command is bundle:
            one.add_argument("--out", type=_absolute, required=True, metavar="FOLDER", help="a new folder")
            one.add_argument(
                "--push",
                metavar="OWNER/NAME",
                help="upload it to this dataset on the Hub, as a private one; FOLDER may be there",
            )
        if command is freeze:
            one.add_argument(
                "--out", type=_absolute, default="claims.yaml", help="the plan's file (default: claims.yaml)"
            )
        if command is study:
            _add_study(one)
    _add_replay(commands)
    text = "Check a bundle: its hashes, and every table, figure and card again from its records."
    commands.add_parser("verify", help=text, description=text).add_argument("folder", type=_absolute, metavar="FOLDER")
    return whole


def _number(text: str, unit: str) -> float:
    """A number from 0 to 100."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is not from 0 to 100 {unit}")
    return value


def _whole(text: str) -> int:
    """A whole number above 0."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _points(text: str) -> float:
    return _number(text, "points")


def _gain(text: str) -> float:
    if (value := _points(text)) == 0:
        raise argparse.ArgumentTypeError("a gain of 0 points is none: give more")
    return value


def _percent(text: str) -> float:
    if 0 < (value := _number(text, "percent")) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is less than 1%: give percent, as 70 for 0.7")
    return value


def _add_power(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--gain", type=_gain, default=2.0, metavar="POINTS", help="points of accuracy to be found (default: 2)"
    )
    one.add_argument("--first", metavar="METHOD", help="default: main_method")
    one.add_argument("--second", metavar="METHOD", help="default: the first other one of `methods`")
    one.add_argument("--sd-seed", type=_points, metavar="POINTS", help="standard deviation between training seeds")
    one.add_argument("--sd-question", type=_points, metavar="POINTS", help="of the methods' difference, by question")
    one.add_argument(
        "--accuracy", type=_percent, metavar="PERCENT", help="from 1 to 100; gives the variance of an answer"
    )


def _add_study(one: argparse.ArgumentParser) -> None:
    one.add_argument("--out", type=_absolute, required=True, metavar="CSV", help="the rows, one for each training")
    one.add_argument("--methods", nargs="+", metavar="METHOD", help="default: `methods` of the experiment")
    one.add_argument("--seeds", nargs="+", type=_whole, metavar="SEED", help="default: `training_seeds`")
    one.add_argument("--at-once", type=_whole, default=1, metavar="N", help="trainings at the same time (default: 1)")
    one.add_argument("--commit", action="store_true", help="commit the CSV after each row")
    instead = one.add_mutually_exclusive_group()
    instead.add_argument(
        "--page", type=_absolute, metavar="FILE", help="write tables into this page, and train nothing"
    )
    instead.add_argument(
        "--power", type=_gain, metavar="POINTS", help="say how many seeds a difference needs, and train nothing"
    )


def _add_replay(commands: Any) -> None:
    """The command `replay`, which is about one training."""
    text = "Apply other methods to the recorded responses of a training, without a model."
    one = commands.add_parser("replay", help=text, description=text)
    one.add_argument("run", type=_absolute, metavar="RUN", help="folder of a training: results/.../train/.../seed-1")
    one.add_argument(
        "--method",
        action="append",
        default=[],
        type=_absolute_function,
        metavar="NAME",
        help="an entry of config/methods.yaml, or a function of weights as file.py:name; by default all entries",
    )
    one.add_argument("--configfile", nargs="+", default=[], type=_absolute, help="files with further `define.methods`")
    one.add_argument("--out", type=_absolute, help="folder for table, figure and CSV (default: RUN/replay)")


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _absolute_function(text: str) -> str:
    """`file.py:name` with the whole path; other names as they are."""
    return str(_absolute(text)) if re.search(r"\.py:\w+$", text) else text


def _open_streams() -> None:
    """Open those of the standard streams that are closed (`>&-`): the next file would get their number, and with it
    whatever a library or a child process prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115  # None where it was closed
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name; that of this process if not given.

    Returns:
        The exit code: 1 for a mistake of the user, and where a check of the doctor has failed; as a shell has it for an
        interrupt, and for a reader of the output that has gone.
    """
    _open_streams()
    options = parser().parse_args(arguments)
    if getattr(options, "files", None) and Path.cwd() != ROOT:
        options.files = [str(Path(file).absolute()) for file in options.files]
    with contextlib.chdir(ROOT):
        try:
            check_encoding()
            code = _run(options)
            sys.stdout.flush()  # here, where a full disk or a closed pipe can still be told
            return code
        except UserError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 128 + signal.SIGINT
        except BrokenPipeError:  # such as `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes what is left when it ends
            return 128 + signal.SIGPIPE
        except OSError as error:
            print(_said_by_system(error), file=sys.stderr)
            return 1


def _said_by_system(error: OSError) -> str:
    """What the system refused, in one line. Raises the error where it is about no file."""
    file = error.filename2 or error.filename
    if file is None and error.errno != errno.ENOSPC:
        raise error
    return f"{file or 'output'}: {error.strerror}. Correct this path or its permissions, or make room."


def _run(options: argparse.Namespace) -> int:
    if options.command == "replay":
        from egpo.cli.replay import replay

        return replay(options.run, options.method, options.configfile, options.out)
    if options.command == "verify":
        from egpo.cli.bundle.verify import verify

        return verify(options.folder)
    files = options.files or [DEFAULT_CONFIG]
    return COMMANDS[options.command](Request(files, dict(options.config), vars(options)))


if __name__ == "__main__":
    sys.exit(main())
