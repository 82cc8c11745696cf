"""The envoy of one's own voice: its folder, the command that starts it, and its end with the notebook."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from certificates.federation import make_certificates
from demo.federation import Federation
from superb_ks.settings import Addresses, Settings
from superb_node.labels import LABELS
from superb_notebook.connect import connect, shard_cards
from superb_notebook.own_voice.envoy import OwnEnvoy
from superb_notebook.own_voice.folder import VoiceError
from superb_notebook.own_voice.voice import Voice, chosen_voice, voice_folder
from tests.demo.conftest import left_below, processes_below
from tests.support.lab import wait_until
from tests.support.tls_lab import USER, TlsLab

pytestmark = pytest.mark.federation

WORKSPACE = Path(__file__).resolve().parents[2] / "workspace"
# A notebook's kernel in short: it starts the envoy and waits to be killed.
KERNEL = """
import signal, sys, time
from superb_ks.settings import Addresses, Settings
from superb_notebook.connect import connect, shard_cards
from superb_notebook.own_voice.envoy import OwnEnvoy
from superb_notebook.own_voice.voice import chosen_voice, voice_folder
addresses = Addresses(director_port=int(sys.argv[1]))
voice = chosen_voice(voice_folder(sys.argv[2], ("yes", "no", "_silence_"), takes=3))
own_envoy = OwnEnvoy(voice, addresses)
own_envoy.start(connect(Settings(addresses=addresses)))
signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print("online", flush=True)
while True:
    time.sleep(1)
"""


@pytest.fixture(scope="module")
def director(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A director without envoys."""
    with Federation(tmp_path_factory.mktemp("director"), envoys=0) as running:
        yield running


def voice_in(folder: Path, labels: tuple[str, ...] = LABELS) -> Voice:
    return chosen_voice(voice_folder(str(folder), labels, takes=3))


def addresses_of(director: Federation) -> Addresses:
    return Addresses(director_port=director.director_port)


def test_it_joins_is_known_by_its_card_and_leaves(director: Federation, tmp_path: Path) -> None:
    addresses = addresses_of(director)
    federation = connect(Settings(addresses=addresses))
    mine = OwnEnvoy(voice_in(tmp_path / "mine"), addresses)
    mine.require_offline(federation)
    card = mine.start(federation)
    assert card["clips"]["train"] == {label: int(label != "_unknown_") for label in LABELS}
    assert (card["source"], card["rank"], card["speakers"]["train"]) == ("folder", None, 1)
    assert mine.start(federation) == card, "it runs already"
    with pytest.raises(VoiceError, match=r"my_voice is online already, .*\(own_envoy.stop\(federation\)"):
        mine.require_offline(federation)
    mine.stop(federation)
    mine.require_offline(federation)
    assert not left_below(tmp_path / "mine")


def test_what_a_person_types_is_what_the_notebook_runs(director: Federation, tmp_path: Path) -> None:
    addresses = addresses_of(director)
    federation = connect(Settings(addresses=addresses))
    mine = OwnEnvoy(voice_in(tmp_path / "with a blank"), addresses, "by_hand")
    environment = {**os.environ, "PYTHON": sys.executable}
    with subprocess.Popen(["bash", "-c", mine.command], env=environment, start_new_session=True) as typed:
        try:
            wait_until(lambda: "by_hand" in shard_cards(federation), 120)
            assert mine.start(federation)["source"] == "folder"
            mine.stop(federation)
            assert typed.poll() is None, "the notebook ends only what it has started"
        finally:
            os.killpg(typed.pid, signal.SIGTERM)


def test_with_tls_it_has_certificates_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CERTIFICATES", raising=False)
    with TlsLab(tmp_path / "lab", envoys=1) as lab:
        federation, addresses = connect(lab.settings()), lab.addresses()
        folder = tmp_path / "elsewhere" / "mine"
        voice = voice_in(folder)
        with pytest.raises(VoiceError, match="with TLS, the envoy my_voice needs certificates"):
            OwnEnvoy(voice, addresses)
        assert not (folder / "envoy_config.yaml").exists()
        make_certificates(lab.certificates, user=USER, envoys=["my_voice"])
        mine = OwnEnvoy(voice, addresses)
        assert f"bash start_envoy_with_tls.sh my_voice {lab.director_host}" in mine.command
        assert mine.start(federation)["source"] == "folder"
        mine.stop(federation)
    assert not left_below(folder)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
def test_it_outlives_an_interrupt_and_ends_with_its_kernel(
    director: Federation, tmp_path: Path, how: signal.Signals
) -> None:
    command = [sys.executable, "-c", KERNEL, str(director.director_port), str(tmp_path / "mine")]
    environment = {**os.environ, "PYTHONPATH": str(WORKSPACE)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as kernel:
        assert kernel.stdout.readline() == "online\n"
        before = {process.pid for process in processes_below(tmp_path / "mine")}
        os.killpg(kernel.pid, signal.SIGINT)
        assert kernel.stdout.readline() == "interrupted\n"
        time.sleep(1)
        assert {process.pid for process in processes_below(tmp_path / "mine")} == before != set()
        os.killpg(kernel.pid, how)
    assert not left_below(tmp_path / "mine")


def test_a_mistake_in_its_settings_is_told(director: Federation, tmp_path: Path) -> None:
    addresses = addresses_of(director)
    federation = connect(Settings(addresses=addresses))
    mine = OwnEnvoy(voice_in(tmp_path / "mine"), addresses, "mistaken")
    config = tmp_path / "mine" / "envoy_config.yaml"
    config.write_text(config.read_text().replace("data_dir: synthetic", "data_dir: nowhere"))
    with pytest.raises(VoiceError, match="the envoy mistaken ended: .*nowhere: no such folder.*envoy.log"):
        mine.start(federation)


def test_the_settings_of_its_owner_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIRECTOR_HOST", raising=False)
    monkeypatch.delenv("DIRECTOR_PORT", raising=False)
    mine, addresses = tmp_path / "mine", Addresses()
    OwnEnvoy(voice_in(mine, ("yes", "no")), addresses)
    config = mine / "envoy_config.yaml"
    written = yaml.safe_load(config.read_text())
    assert written["shard_descriptor"]["params"] == {
        "rank_worldsize": None,
        "source": "folder",
        "data_dir": "synthetic",
        "test_dir": "testing_list",
        "labels": ["yes", "no"],
    }
    config.write_text(config.read_text().replace("approval: open", "approval: manual"))
    again = OwnEnvoy(voice_in(mine, ("yes", "no")), addresses)
    assert yaml.safe_load(config.read_text())["params"]["approval"] == "manual"
    assert again.command.endswith("mine && bash start_envoy.sh my_voice")


def test_another_envoys_folder_stays_as_it_is(tmp_path: Path) -> None:
    voice, config = voice_in(tmp_path / "envoy_two"), tmp_path / "envoy_two" / "envoy_config.yaml"
    config.write_text("shard_descriptor: {params: {rank_worldsize: '2, 2'}}\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VoiceError, match="envoy_two is the folder of another envoy: choose another"):
        OwnEnvoy(voice, Addresses())
    assert sorted(tmp_path.rglob("*")) == before and "2, 2" in config.read_text()


def test_its_folder_is_for_this_account_alone(director: Federation, tmp_path: Path) -> None:
    addresses, before = addresses_of(director), os.umask(0o022)
    try:
        mine = OwnEnvoy(voice_in(tmp_path / "mine"), addresses, "private")
        mine.start(connect(Settings(addresses=addresses)))
        mine.stop()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / "mine" / name).stat().st_mode) for name in ("", "envoy.log")]
    assert modes == [0o700, 0o600]


def test_an_illegal_name_and_a_folder_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    voice = voice_in(tmp_path / "mine")
    with pytest.raises(VoiceError, match="envoy name 'my voice'; legal: a letter"):
        OwnEnvoy(voice, Addresses(), "my voice")
    (tmp_path / "mine" / "speech_commands").touch()
    with pytest.raises(VoiceError, match="no envoy's folder can be made there"):
        OwnEnvoy(voice, Addresses())
