"""The envoy of one's own voice: its folder, the command that starts it, and a start from the notebook."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from openfl.interface.interactive_api.federation import Federation

from superb_ks.settings import SUPERB_LABELS, Addresses
from superb_node.labels import LISTED
from superb_node.names import fault_of_envoy_name
from superb_node.work_folder import OF_ONE_NODE, replace_file
from superb_node.yaml_config import NotYaml, read_yaml
from superb_notebook.connect import shard_cards
from superb_notebook.local_data import ENVOY
from superb_notebook.own_voice.command import CONFIG, command_that_starts
from superb_notebook.own_voice.folder import VoiceError
from superb_notebook.own_voice.voice import Voice

LOG = "envoy.log"
TAKEN = "already runs from this folder"
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 120.0, 10.0, 0.3
SILENCE_SECONDS = 60.0  # after which a director takes a silent envoy for dead, unless it is patient
_NOT_COPIED = shutil.ignore_patterns(CONFIG, *OF_ONE_NODE, "__pycache__", "*.whl", ".*")
_HEADER = """\
# Settings of the envoy of your own voice; notebook 6 writes shard_descriptor, the rest is yours to change.
# envoy/envoy_config.yaml explains every entry.
"""
_running: dict[str, subprocess.Popen[bytes]] = {}
# In a session of its own, which an interrupt of the kernel does not reach. The pipe ends with the kernel,
# however that ends, and then everything in this session is asked to end.
_BESIDE_THE_KERNEL = """\
trap : TERM
exec 3<&0
bash -c "$1" 3<&- & envoy=$!
{ cat <&3 >/dev/null; kill -TERM 0; } &
wait "$envoy"; wait "$envoy"
"""


class OwnEnvoy:
    """The envoy of a voice, in a copy of the folder `envoy`.

    Args:
        voice: whose clips it reads.
        addresses: where the director is.
        name: of the envoy.

    Attributes:
        name: of the envoy.
        folder: of the envoy; the voice's folder is in it.
        command: what starts it, in a terminal in this notebook's folder.

    Raises:
        VoiceError: the name is illegal, the folder is another envoy's or cannot be made, or its certificates
            are missing.
    """

    def __init__(self, voice: Voice, addresses: Addresses, name: str = "my_voice") -> None:
        if fault := fault_of_envoy_name(name):
            raise VoiceError(fault)
        self.name, self.folder = name, voice.folder.root.parent
        self.command = command_that_starts(name, self.folder, addresses)
        _require_own(self.folder / CONFIG)
        try:
            shutil.copytree(ENVOY, self.folder, ignore=_NOT_COPIED, dirs_exist_ok=True)
            self.folder.chmod(0o700)  # it has the rights of the original now
            replace_file(self.folder / CONFIG, _config(self.folder / CONFIG, voice).encode())
        except (OSError, shutil.Error, NotYaml) as error:
            raise VoiceError(f"{self.folder}: no envoy's folder can be made there ({error})") from error

    def require_offline(self, federation: Federation) -> None:
        """Make sure that the envoy takes part in nothing yet.

        Raises:
            VoiceError: it is online.
        """
        if self.name in shard_cards(federation):
            raise VoiceError(
                f"{self.name} is online already, and the first model is to be trained without it. Stop it "
                "(own_envoy.stop(federation), or Ctrl-C in its terminal) and run this cell again in 10 s"
            )

    def start(self, federation: Federation) -> dict[str, Any]:
        """Run `command`, unless the envoy is online already; returns the envoy's card.

        Raises:
            VoiceError: the envoy ended, or was not online in time.
        """
        cards = shard_cards(federation)
        if self.name in _running and _running[self.name].poll() is not None:  # an earlier one has ended
            _end(_running.pop(self.name))
        if self.name not in cards and self.name not in _running:
            _running[self.name] = self._run()
        deadline = time.monotonic() + START_SECONDS
        while self.name not in (cards := shard_cards(federation)):
            process = _running.get(self.name)
            ended = process is not None and process.poll() is not None
            if ended and TAKEN in self._last_line():  # somebody has just typed the command
                _end(_running.pop(self.name))
            elif ended or time.monotonic() > deadline:
                self.stop()
                what = "ended" if ended else f"is not online after {START_SECONDS:.0f} s"
                raise VoiceError(f"the envoy {self.name} {what}: {self._last_line()}")
            time.sleep(POLL_SECONDS)
        return cards[self.name]

    def stop(self, federation: Federation | None = None) -> None:
        """End the envoy, if this notebook has started it, and wait until the director knows."""
        if self.name not in _running:
            return
        _end(_running.pop(self.name))
        deadline = time.monotonic() + SILENCE_SECONDS
        while federation is not None and self.name in shard_cards(federation):
            if time.monotonic() > deadline:
                raise VoiceError(
                    f"the director still has {self.name} online. It runs elsewhere, too, or is not missed yet"
                )
            time.sleep(POLL_SECONDS)

    def _run(self) -> subprocess.Popen[bytes]:
        with open(self.folder / LOG, "wb", opener=_for_us_alone) as log:
            return subprocess.Popen(
                ["bash", "-c", _BESIDE_THE_KERNEL, "own-voice", self.command],
                env={**os.environ, "PYTHON": sys.executable},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _last_line(self) -> str:
        log = self.folder / LOG
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (all of it: {os.path.relpath(log)})"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask everything in a process's session to end, and after `STOP_SECONDS` kill what is left."""
    process.stdin.close()  # type: ignore[union-attr]
    deadline = time.monotonic() + STOP_SECONDS
    while _lives(process) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    with suppress(ProcessLookupError, PermissionError):  # gone, or (macOS) nothing but zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@atexit.register
def _end_all() -> None:
    for name in list(_running):
        _end(_running.pop(name))


def _lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether anything of a process's session is still there."""
    process.poll()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 0)
        return True
    return False


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _require_own(config: Path) -> None:
    """Make sure that a folder is no other envoy's, whose settings would be lost."""
    if config.is_file() and not config.read_text(encoding="utf-8", errors="replace").startswith(_HEADER):
        raise VoiceError(f"{config.parent} is the folder of another envoy: choose another VOICE_DIR")


def _config(path: Path, voice: Voice) -> str:
    """Return the envoy's configuration: the settings of its owner, and where its clips are."""
    owners = read_yaml(path if path.is_file() else ENVOY / CONFIG)
    params: dict[str, Any] = {"rank_worldsize": None, "source": "folder", "data_dir": voice.folder.root.name}
    params["test_dir"] = LISTED
    if voice.folder.labels != SUPERB_LABELS:
        params["labels"] = list(voice.folder.labels)
    sections = {
        "params": (owners or {}).get("params") or {},
        "shard_descriptor": {"template": "superb_shard_descriptor.SuperbShardDescriptor", "params": params},
    }
    return _HEADER + yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)
