"""The command that starts the envoy of one's own voice: what a terminal does not know by itself is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from superb_ks.settings import Addresses
from superb_notebook.own_voice.command import command_that_starts
from superb_notebook.own_voice.envoy import OwnEnvoy
from superb_notebook.own_voice.folder import VoiceError, VoiceFolder
from superb_notebook.own_voice.voice import Voice

PLAIN = "--insecure-allow-plaintext-on-network"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder; the notebook's folder is the current one, and nothing is set."""
    for name in ("workspace", "certs/notebook", "certs/my_voice"):
        (tmp_path / "project" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "workspace")
    for variable in ("DIRECTOR_HOST", "DIRECTOR_PORT", "CERTIFICATES"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "project"


def command(folder: str = "../envoy_voice", **addresses: Any) -> str:
    return command_that_starts("my_voice", Path(folder), Addresses(**addresses))


@pytest.mark.parametrize(
    ("addresses", "start"),
    [
        ({}, "bash start_envoy.sh my_voice"),
        ({"director_port": 50060}, "DIRECTOR_PORT=50060 bash start_envoy.sh my_voice"),
        ({"director_host": "127.0.0.1"}, "DIRECTOR_HOST=127.0.0.1 bash start_envoy.sh my_voice"),
        (
            {"director_host": "gpu1", "director_port": 7000, "insecure_allow_plaintext_on_network": True},
            f"DIRECTOR_HOST=gpu1 DIRECTOR_PORT=7000 bash start_envoy.sh my_voice envoy_config.yaml {PLAIN}",
        ),
        (
            {"director_host": "gpu1", "certificates": "../certs/notebook"},
            "bash start_envoy_with_tls.sh my_voice gpu1",
        ),
        (
            {"director_host": "gpu1", "director_port": 7000, "certificates": "../certs/notebook"},
            "DIRECTOR_PORT=7000 bash start_envoy_with_tls.sh my_voice gpu1",
        ),
    ],
)
def test_what_differs_from_the_usual_is_in_it(addresses: dict[str, Any], start: str) -> None:
    assert command(**addresses) == f"cd ../envoy_voice && {start}"


def test_what_is_set_here_is_in_it_because_it_may_be_set_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DIRECTOR_HOST", "DIRECTOR_PORT", "CERTIFICATES"):
        monkeypatch.setenv(variable, "something else")
    assert command().endswith("&& DIRECTOR_HOST=localhost DIRECTOR_PORT=50050 bash start_envoy.sh my_voice")
    with_tls = command(certificates="../certs/notebook")
    assert with_tls.endswith(
        "&& CERTIFICATES=../certs/my_voice DIRECTOR_PORT=50050 "
        "bash start_envoy_with_tls.sh my_voice localhost"
    )


def test_the_envoys_config_changes_whole_or_not_at_all(project: Path) -> None:
    def config_for(*labels: str) -> Path:
        folder = VoiceFolder(project / "envoy_voice" / "clips", labels)
        return OwnEnvoy(Voice(folder, is_synthetic=False), Addresses()).folder / "envoy_config.yaml"

    seen = project / "seen"
    seen.hardlink_to(config_for("yes", "no"))  # by a reader who has opened it
    before = seen.read_text()
    assert config_for("yes").read_text() != before == seen.read_text()


def test_the_certificates_are_found_from_the_envoys_folder(project: Path) -> None:
    for folder, where in (
        ("../a b/voice", "../../certs/my_voice"),
        (str(project / "c"), "../certs/my_voice"),
    ):
        said = command(folder, certificates=str(project / "certs" / "notebook"))
        assert ("CERTIFICATES=" in said) == (where != "../certs/my_voice")
        assert where in said or "CERTIFICATES=" not in said
    assert command("../a b/voice").startswith("cd '../a b/voice' && ")


def test_an_envoy_without_certificates_is_told_how_to_get_them(project: Path) -> None:
    (project / "certs" / "my_voice").rmdir()
    with pytest.raises(VoiceError, match=r"none in \.\./certs/my_voice\. .*: make certs ENVOYS=my_voice;"):
        command(certificates="../certs/notebook")
