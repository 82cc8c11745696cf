"""A SuperLink that is not the notebook's: by its certificate, its machine or its account; told in a line."""

from __future__ import annotations

import re
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tomllib  # type: ignore[import-not-found]
from superb_flower.output import Output

from certificates.authority import issue, new_authority
from certificates.folder import publish
from superb_ks.run_files import FAILED, FAILURE, FINISHED
from superb_ks.settings import Addresses, Settings
from superb_node.certificates import CERTIFICATE, DIRECTOR, PRIVATE_KEY, USER
from superb_node.flower.cli import FlowerRefused
from superb_notebook import flower
from superb_notebook.connect import FederationError, connect
from superb_notebook.flower import FlowerClient

# A run's process ends with its records open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@contextmanager
def server(identity: Path) -> Iterator[int]:
    """A server with the certificate in a folder, on the port that is returned."""
    listening = ThreadingHTTPServer(("localhost", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity / CERTIFICATE, identity / PRIVATE_KEY)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield int(listening.server_address[1])
    finally:
        listening.shutdown()
        listening.server_close()


@pytest.mark.parametrize(
    ("same_authority", "host", "reason"),
    [
        (False, "localhost", "we do not accept its certificate: unable to get local issuer certificate"),
        (True, "elsewhere.example", "we do not accept its certificate: Hostname mismatch, .* 'localhost'"),
        (True, "localhost", None),
        (None, "localhost", "it speaks TLS only, and we speak without"),
    ],
    ids=["other authority", "other host", "no SuperLink at all", "no TLS"],
)
def test_why_tls_refuses(tmp_path: Path, same_authority: bool | None, host: str, reason: str | None) -> None:
    """Where TLS is not in the way, Flower's own words stay."""
    ours = new_authority()
    publish(tmp_path / "notebook", issue(ours, USER, "notebook"), ours.certificate)
    theirs = ours if same_authority else new_authority()
    publish(tmp_path / "director", issue(theirs, DIRECTOR, "director", [host]), theirs.certificate)
    certificates = None if same_authority is None else str(tmp_path / "notebook")
    with server(tmp_path / "director") as port:
        addresses = Addresses(director_host="localhost", director_port=port, certificates=certificates)
        with pytest.raises(FederationError) as refused:
            connect(Settings(engine="flower", addresses=addresses))
    told = f"localhost:{port} is no SuperLink for this notebook: {reason}" if reason else "flwr list: .*"
    assert re.fullmatch(told, str(refused.value), re.DOTALL)


class SuperLink:
    """Stands in for Flower's command line: a run has this end, and its server has left something or not."""

    def __init__(self, end: str) -> None:
        self._end = end

    def __call__(self, command: str, *arguments: str) -> dict[str, Any]:
        if command == "list":
            return {"runs": [{"status": f"finished:{self._end}"}]}
        config = tomllib.loads(Path(arguments[-1]).read_text(encoding="utf-8"))
        assert config.keys() == {"output", "cards-only"} and config["cards-only"] is True
        self.serve(Path(config["output"]))
        return {"run-id": 5}

    def serve(self, output: Path) -> None:
        """Leave what the run's server leaves on this machine: nothing if it is on another one."""


@pytest.mark.parametrize(
    ("end", "missing"), [("completed", "cards.json"), ("failed", "records.jsonl")], ids=["machine", "account"]
)
def test_another_machine_or_account(tmp_path: Path, end: str, missing: str) -> None:
    """The server on another machine writes there; that of another account may not write here."""
    with pytest.raises(FlowerRefused) as refused:
        FlowerClient(SuperLink(end), tmp_path).cards()
    assert str(refused.value) == (
        f"the run has left no {missing} that can be read here (No such file or directory): the notebook must "
        "run on the SuperLink's machine, as the same account; if it does, the SuperLink's log says why"
    )


class OfThisAccount(SuperLink):
    """Its server notes why it fails, or writes the cards."""

    def serve(self, output: Path) -> None:
        left = Output(output)
        if self._end == "failed":
            left.note(0, "director", FAILURE, "two clients are named env_one")
            left.status(FAILED)
        else:
            left.cards({"env_one": {"labels": ["yes"]}})
            left.status(FINISHED)


class Silent(SuperLink):
    """Its run never ends; notes what is stopped."""

    def __init__(self) -> None:
        super().__init__("")
        self.stopped: list[str] = []

    def __call__(self, command: str, *arguments: str) -> dict[str, Any]:
        if command == "stop":
            self.stopped.append(arguments[0])
            return {}
        if command == "list":
            return {"runs": [{"status": "running"}]}
        return super().__call__(command, *arguments)


def test_a_run_whose_clients_say_nothing_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower, "CARDS_SECONDS", 0.0)
    superlink = Silent()
    with pytest.raises(FlowerRefused, match="^the clients did not describe themselves in 0 s$"):
        FlowerClient(superlink, tmp_path).cards()
    assert superlink.stopped == ["5"]


def test_the_servers_own_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(FlowerRefused, match="^two clients are named env_one$"):
        FlowerClient(OfThisAccount("failed"), tmp_path).cards()
    with pytest.raises(FlowerRefused, match="^the clients were not asked: stopped$"):
        FlowerClient(SuperLink("stopped"), tmp_path).cards()


def test_the_cards_come_by_a_folder_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / 'a "b" \\ ü 🎙'
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    assert FlowerClient(OfThisAccount("completed"), tmp_path).cards() == {"env_one": {"labels": ["yes"]}}
    assert not list(odd.iterdir())
