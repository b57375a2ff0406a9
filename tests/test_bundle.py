"""A bundle of results, and what `egpo verify` finds in it; uploads go to a stand-in of the Hub's API."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
import yaml
from report_inputs import small_catalogue, write_results
from waiting import LIMIT

from egpo.cli.bundle.contents import EXPERIMENT, ORIGIN, SUMS
from egpo.cli.bundle.contents import sums as sums_of
from egpo.cli.bundle.make import bundle
from egpo.cli.bundle.verify import verify
from egpo.common.errors import UserError
from egpo.common.files import sha256
from egpo.common.paths import ROOT, Paths
from egpo.report.entries import ENTRIES, entries_of

CATALOGUE = small_catalogue(
    backbones=["tiny-math"],
    methods=["grpo", "egpo"],
    training_seeds=[1],
    ablations={"backbone": "tiny-math", "methods": ["c1"], "benchmarks": ["one"]},
    uncertainty=None,
    extra_models={},
)
PATHS = Paths(CATALOGUE.experiment.experiment)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The bundle of a made-up experiment."""
    folder, before = tmp_path_factory.mktemp("experiment"), Path.cwd()
    os.chdir(folder)
    for name in ("config", "workflow"):
        (folder / name).symlink_to(ROOT / name)
    write_results(CATALOGUE)
    (PATHS.output("data_card", "card")).write_text("# Pool\n")
    for entry in entries_of(CATALOGUE):
        entry.write(entry.given(CATALOGUE), entry.input_files(CATALOGUE, PATHS), entry.folder(PATHS))
    try:
        assert bundle(CATALOGUE, folder / "bundle", None) == 0
    finally:
        os.chdir(before)
    return folder / "bundle"


@pytest.fixture
def few(monkeypatch) -> None:
    """Only these are made again: a test of what is found in them needs no others, which take long."""
    entries = [ENTRIES[name] for name in ("table1", "comparisons", "replay", "report")]
    monkeypatch.setattr("egpo.cli.bundle.verify.entries_of", lambda _: entries)


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "elsewhere"))


def test_a_bundle_is_the_same_again_on_another_place(copy, capsys):
    """As git or the Hub's client bring it, which put files of their own beside it."""
    for name in (".git/config", ".gitattributes", ".cache/huggingface/download/x.lock"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("x")
    assert verify(copy) == 0
    said = capsys.readouterr().out
    assert (
        "hashes:" in said and " 0 wrong" in said and "DIFFERS" not in said and "not checked: that the trainings" in said
    )
    assert len(re.findall("the same again", said)) == len(entries_of(CATALOGUE)) + 1


def test_what_was_changed_is_found_with_its_place(copy, few, capsys):
    """A byte of one table; and one of another by someone who then corrects the list of hashes."""
    byte, corrected = (copy / PATHS.tables / f"{name}.csv" for name in ("table1", "comparisons"))
    before, sums = sha256(corrected), copy / SUMS
    for table in (byte, corrected):
        table.write_text(table.read_text().replace("1", "2", 1))
    sums.write_text(sums.read_text().replace(before, sha256(corrected)))
    assert verify(copy) == 1
    said = capsys.readouterr().out
    assert f"WRONG {PATHS.tables}/table1.csv: was changed" in said
    assert f"WRONG {PATHS.tables}/table1.csv: differs from what the records give" in said
    assert "comparisons.csv: was changed" not in said and " 1 wrong" in said
    assert f"WRONG {PATHS.tables}/comparisons.csv: differs from what the records give" in said


def test_missing_and_added_files_are_found(copy, few, capsys):
    (records,) = list(copy.rglob("evaluate/tiny-math/egpo/seed-1/records.parquet"))
    records.unlink()
    (copy / "more.txt").write_text("more")
    assert verify(copy) == 1
    said = capsys.readouterr().out
    assert "records.parquet: is missing" in said and f"more.txt: is not in {SUMS}" in said
    assert f"{PATHS.tables}/table1.md: cannot be made again" in said


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        (SUMS, b"no hash\n", f"WRONG {SUMS}: line 1 is no hash with a name"),
        (SUMS, b"\xff\xfe\n", f"WRONG {SUMS}: line 1 is no hash with a name"),
        (EXPERIMENT, b"experiment: {", f"WRONG {EXPERIMENT}: was changed"),
        (EXPERIMENT, b"experiment: {", f"WRONG {EXPERIMENT}: cannot be read, so nothing was made again"),
        (EXPERIMENT, b"experiment: 1\n", f"WRONG {EXPERIMENT}: cannot be read, so nothing was made again"),
        (ORIGIN, b"{", f"WRONG {ORIGIN}: cannot be read, so nothing was made again"),
    ],
)
def test_damage_to_what_the_check_itself_reads_is_found(copy, few, capsys, name, text, found):
    (copy / name).write_bytes(text)
    assert verify(copy) == 1
    assert found in capsys.readouterr().out


def test_nothing_that_a_bundle_holds_is_run(copy, few, capsys, tmp_path):
    """Neither a template nor a function of weights, also if the hashes are made again."""
    ran = tmp_path / "ran"
    (copy / "evil.py").write_text(
        f"open({str(ran)!r}, 'w')\ndef weights(entropies, correct, groups):\n    return entropies"
    )
    (copy / "workflow/report").mkdir(parents=True)
    (copy / "workflow/report/page.html").write_text("{{ cycler.__init__.__globals__.os.mkdir('" + str(ran) + "') }}")
    values = yaml.safe_load((copy / EXPERIMENT).read_text())
    for weight in ("evil.py:weights", f"{copy}/evil.py:weights", "/proc/self/cwd/evil.py:weights"):
        values["methods"]["grpo"]["calibration"]["weight"] = weight
        (copy / EXPERIMENT).write_text(yaml.safe_dump(values))
        (copy / SUMS).write_text(sums_of(copy))
        assert verify(copy) == 1
        said = capsys.readouterr().out
        assert "replay: NOT CHECKED, for it runs evil.py" in said and "table1: the same again" in said
        assert not ran.exists()


def test_cards_name_the_model_its_scores_and_its_limits(made):
    card = (made / PATHS.training("tiny-math", "egpo", 1) / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["model-index"][0]["results"][0]["metrics"][0]["type"] == "accuracy"
    assert "A tiny model, made and taught here" in card and "must not be taken for" in card
    assert re.search(r"\| ONE_1 \| \d+\.\d\d \| \[\d+\.\d, \d+\.\d\] \| 10 \| 2 \|", card)
    page = (made / "README.md").read_text()
    assert yaml.safe_load(page.split("---")[1])["configs"][0]["config_name"] == "records"
    assert yaml.safe_load((made / EXPERIMENT).read_text())["experiment"]["experiment"] == "made-up"


def test_a_configuration_that_was_changed_since_is_refused(made, few, tmp_path, monkeypatch):
    """Its tables would be made otherwise wherever they are checked."""
    monkeypatch.chdir(made.parent)
    experiment = CATALOGUE.experiment.model_copy(update={"note": "Another note."})
    with pytest.raises(UserError, match=r"are not what the records give.*snakemake all"):
        bundle(CATALOGUE.model_copy(update={"experiment": experiment}), tmp_path / "new", None)
    assert not list(tmp_path.iterdir())


def test_an_unfinished_experiment_and_a_folder_that_is_there_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="files of the experiment are missing"):
        bundle(CATALOGUE, tmp_path / "new", None)
    with pytest.raises(UserError, match="is there already"):
        bundle(CATALOGUE, tmp_path, None)
    with pytest.raises(UserError, match="is no bundle"):
        bundle(CATALOGUE, tmp_path, "me/results")
    with pytest.raises(UserError, match=r"--push results: .*OWNER/NAME"):
        bundle(CATALOGUE, tmp_path / "new", "results")
    with pytest.raises(UserError, match="is no bundle"):
        verify(tmp_path)


def test_two_files_of_one_place_are_refused(tmp_path, monkeypatch):
    """Functions of weights from outside the repository keep their names alone."""
    files = [tmp_path / folder / "weights.py" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.touch()
    monkeypatch.setattr("egpo.cli.bundle.make.contents", lambda *_: files)
    with pytest.raises(UserError, match=r"a/weights.py and .*b/weights.py would both be weights.py .* another name"):
        bundle(CATALOGUE, tmp_path / "new", None)
    assert not (tmp_path / "new").exists()


class HubStandIn(BaseHTTPRequestHandler):
    """A stand-in of the few calls of the Hub's API that an upload makes; keeps what was committed."""

    committed: ClassVar[list[str]] = []
    refuse: ClassVar[bool] = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.refuse:
            self.send_error(401)
            return
        place = f"http://127.0.0.1:{self.server.server_address[1]}/datasets/me/results"
        if "/preupload/" in self.path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                value = json.loads(line)
                if value["key"] == "file":
                    self.committed.append(value["value"]["path"])
            self._answer({"commitUrl": f"{place}/commit/1", "commitOid": "1" * 40, "pullRequestUrl": None})
        else:
            self._answer({"url": place, "name": "me/results"})

    def do_GET(self) -> None:
        self._answer({"id": "me/results", "sha": "0" * 40, "siblings": []})

    def _answer(self, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


UPLOAD = """
import sys
from pathlib import Path
from egpo.cli.bundle.make import bundle
from egpo.common.errors import UserError
try:
    bundle(None, Path(sys.argv[1]), "me/results")  # the bundle is there: no experiment is asked for
except UserError as error:
    sys.exit(str(error))
"""


def upload(made: Path, port: int, home: Path) -> subprocess.CompletedProcess:
    """Push the bundle that is there to the Hub of that port."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_TOKEN": "hf_none",
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT / "src"),
    }
    command = [sys.executable, "-c", UPLOAD, str(made)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)


@pytest.mark.parametrize("refuse", [False, True])
def test_a_bundle_is_uploaded_to_a_stand_in_of_the_hub(made, tmp_path, refuse):
    handler = type("Handler", (HubStandIn,), {"committed": [], "refuse": refuse})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    done = upload(made, server.server_port, tmp_path)
    server.shutdown()
    if refuse:
        assert "--push me/results: the upload failed (" in done.stderr and "hf auth login" in done.stderr
        assert not handler.committed
    else:
        assert done.returncode == 0, done.stderr
        assert SUMS in handler.committed and "README.md" in handler.committed
        assert len(handler.committed) == len([file for file in made.rglob("*") if file.is_file()])


def test_without_a_network_the_upload_fails_with_its_remedy(made, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    with pytest.raises(UserError, match=r"failed \(ConnectError: no message\).*the same command uploads it"):
        bundle(CATALOGUE, made, "me/results")
