"""The same federation on Flower: runs the app in the folder `flower` on a SuperLink, by Flower's own CLI.

`FlowerFederation` stands where OpenFL's federation does, and `FlowerClient` where the line to the director
does. The notebook's cells, the experiment's text and the records are the same. What a run leaves, records and
models, is in a folder on the SuperLink's machine, which has to be this one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from superb_ks.run_files import (
    BEST,
    CARDS,
    EXPERIMENT,
    FAILED,
    FAILURE,
    FINISHED,
    INITIAL,
    LAST,
    RECORDS,
    STATUS,
    GrowingRecords,
    read_model,
)
from superb_ks.settings import Settings
from superb_ks.types import Vector
from superb_node.flower.cli import SUPERLINK, FlowerCli, FlowerRefused, toml_value
from superb_node.loopback import bare, in_uri
from superb_notebook.tracking.backends import RUN_DIR

APP = Path(__file__).resolve().parents[2] / "flower"
RUNS = ".flower"
"""Folder in `runs_dir` for what the runs leave."""

RUN_ID = "run-id"
"""File in a run's folder: Flower's number of it."""

CARDS_SECONDS = 400.0  # the server itself goes on without a client that is silent for 300 s
NO_SUCH_RUN = "Run ID not found"
"""What Flower says of a run that it does not know."""

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0  # so long a SuperLink may be silent
_STATUS_SECONDS = 15.0  # Flower's CLI takes a second of a core each time, which clients may compute on
_ENDED = {"completed": FINISHED, "failed": FAILED, "stopped": "stopped"}


class FlowerClient:
    """Does what the line to a director does.

    Args:
        cli: reaches the SuperLink.
        runs: folder for what runs leave.
    """

    def __init__(self, cli: FlowerCli, runs: Path) -> None:
        self._cli, self._runs = cli, runs
        self._answered = time.monotonic()
        self._known: dict[str, tuple[float, str]] = {}  # when Flower was asked for a run, and its words

    def submit(
        self, name: str, envoys: list[str], text: bytes, model: Vector | None, aggregator_port: int
    ) -> None:
        """Send an experiment's text with the app, and let it run.

        Raises:
            FlowerRefused: the name is taken, or the SuperLink does not take it.
        """
        if model is None:
            raise FlowerRefused("Flower cannot resume a run; start it with other settings instead")
        folder = self._folder(name)
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            raise FlowerRefused(f"there is an experiment {name!r} already, in {folder}") from None
        try:
            np.save(folder / INITIAL, model, allow_pickle=False)
            run_id = self._run(folder, text)
            (folder / RUN_ID).write_text(run_id, encoding="utf-8")
        except BaseException:  # Ctrl-C, too: the name has to be free for the next try
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def cards(self) -> dict[str, dict[str, Any]]:
        """Ask all clients for their shard cards, by name.

        Raises:
            FlowerRefused: there is no client, one cannot take part, or the SuperLink's machine or account is
                another.
        """
        with tempfile.TemporaryDirectory(prefix="superb-flower-") as folder:
            run_id = self._run(Path(folder), None, cards_only=True)
            deadline = time.monotonic() + CARDS_SECONDS
            while (status := self._status(Path(folder), run_id)) not in _ENDED.values():
                if time.monotonic() > deadline:
                    self._cli("stop", run_id, SUPERLINK)
                    raise FlowerRefused(f"the clients did not describe themselves in {CARDS_SECONDS:.0f} s")
                time.sleep(_POLL_SECONDS)
            if status != FINISHED:
                reason = _failure_in(Path(folder)) if status == FAILED else ""
                raise FlowerRefused(reason or f"the clients were not asked: {status}")
            cards: dict[str, dict[str, Any]] = json.loads(_read(Path(folder) / CARDS))
        return cards

    def stream_metrics(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield every record from the first on, until the run has ended."""
        records = GrowingRecords(self._folder(name))
        while True:
            ended = self.get_experiment_status(name).experiment_status in _ENDED.values()
            yield from records.new()
            if ended:
                return
            time.sleep(_POLL_SECONDS)

    def get_experiment_status(self, name: str) -> SimpleNamespace:
        """Return `experiment_status` in the words of the director.

        Raises:
            FlowerRefused: there is no such experiment.
        """
        return SimpleNamespace(experiment_status=self._status(self._folder(name), self._run_id(name)))

    def fetch_model(self, name: str, which: str) -> Vector:
        """Read the `best` or the `last` model, float32 `[size]`."""
        try:
            return read_model(self._folder(name) / {"best": BEST, "last": LAST}[which])
        except OSError:
            raise FlowerRefused(f"experiment {name!r} has no {which} model") from None

    def stop_experiment(self, name: str) -> None:
        """End a run.

        Raises:
            FlowerRefused: there is no such experiment, or the SuperLink does not end it.
        """
        self._cli("stop", self._run_id(name), SUPERLINK)

    def get_experiments_list(self) -> list[SimpleNamespace]:
        """List the experiments whose folders are there, oldest first."""
        folders = sorted(self._runs.glob(f"*/{RUN_ID}"), key=lambda file: file.stat().st_mtime)
        names = [file.parent.name for file in folders]
        return [
            SimpleNamespace(name=name, status=self.get_experiment_status(name).experiment_status)
            for name in names
        ]

    def _folder(self, name: str) -> Path:
        return self._runs / name

    def _run_id(self, name: str) -> str:
        try:
            return (self._folder(name) / RUN_ID).read_text(encoding="utf-8")
        except OSError:
            raise FlowerRefused(f"there is no experiment {name!r} in {self._runs}") from None

    def _run(self, output: Path, text: bytes | None, cards_only: bool = False) -> str:
        """Start a run of the app and return its number."""
        with tempfile.TemporaryDirectory(prefix="superb-flower-") as folder:
            app = copy_app(Path(folder) / "app", text)
            given = f"output = {toml_value(str(output))}\ncards-only = {toml_value(cards_only)}\n"
            (Path(folder) / "run.toml").write_text(given, encoding="utf-8")
            answer = self._cli("run", str(app), SUPERLINK, "--run-config", str(Path(folder) / "run.toml"))
        return str(answer["run-id"])

    def _status(self, folder: Path, run_id: str) -> str:
        """Return how a run stands: as its server wrote it, or as the SuperLink knows if it wrote no end."""
        file = folder / STATUS
        written = _read(file).decode() if file.exists() else "pending"
        if written in _ENDED.values():
            return written
        asked, known = self._known.get(run_id, (-math.inf, ""))
        if time.monotonic() >= asked + _STATUS_SECONDS:
            known = self._flowers_words(run_id)
            self._known[run_id] = time.monotonic(), known
        state, _, how = known.partition(":")
        return _ENDED.get(how, FAILED) if state == "finished" else written

    def _flowers_words(self, run_id: str) -> str:
        """Return the SuperLink's status of a run, such as `finished:failed`; `unknown` if it is silent.

        Raises:
            FlowerRefused: it has been silent for too long.
        """
        try:
            runs = self._cli("list", SUPERLINK, "--run-id", run_id)["runs"]
        except FlowerRefused as refused:
            if NO_SUCH_RUN in str(refused):  # a SuperLink that was started again has lost the runs before it
                return "finished:failed"
            if time.monotonic() > self._answered + _PATIENCE_SECONDS:
                raise
            return "unknown"
        self._answered = time.monotonic()
        return next(str(run["status"]) for run in runs)


class FlowerFederation:
    """A SuperLink and its SuperNodes, as the notebook knows a federation.

    Args:
        settings: whose addresses name the SuperLink.

    Raises:
        FlowerRefused: nobody answers there.
    """

    def __init__(self, settings: Settings) -> None:
        addresses = settings.addresses
        host = in_uri(bare(addresses.director_host))
        self._cli = FlowerCli(host, addresses.director_port, addresses.certificates)
        self._cli("list", SUPERLINK)
        # What the demo does not keep of a run has to be in the run's folder.
        runs = Path(os.environ.get(RUN_DIR) or settings.runs_dir).resolve() / RUNS
        self.dir_client = FlowerClient(self._cli, runs)
        self._cards: Mapping[str, Mapping[str, Any]] | None = None

    def get_shard_registry(self) -> dict[str, dict[str, Any]]:
        """Return the shards of all SuperNodes; they are asked once, which takes some seconds."""
        if self._cards is None:
            self._cards = self.dir_client.cards()
        return {
            name: {"is_online": True, "shard_info": SimpleNamespace(shard_description=json.dumps(card))}
            for name, card in self._cards.items()
        }


def copy_app(folder: Path, text: bytes | None) -> Path:
    """Copy the app to a new folder, with an experiment's text in it, if there is one; returns the folder."""
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    if text is not None:
        (folder / "superb_flower" / EXPERIMENT).write_bytes(text)
    return folder


def _read(file: Path) -> bytes:
    """Read what the server of a run wrote.

    Raises:
        FlowerRefused: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise FlowerRefused(
            f"the run has left no {file.name} that can be read here ({error.strerror}): the notebook must "
            "run on the SuperLink's machine, as the same account; if it does, the SuperLink's log says why"
        ) from error


def _failure_in(folder: Path) -> str:
    """Return the reason that the server recorded, if it did."""
    records = map(json.loads, _read(folder / RECORDS).splitlines())
    failures = [record["metric_name"] for record in records if record["task_name"] == FAILURE]
    return str(failures[-1]) if failures else ""
