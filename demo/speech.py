"""The embedded synthetic speech, made by a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from demo.errors import DemoError

ROOT = Path(__file__).resolve().parent.parent


def make_synthetic_speech(seed: int, *options: str) -> Path:
    """Make the embedded speech, unless it is in the cache, before the envoys ask for it; returns its folder.

    Args:
        seed: of the speech.
        options: further ones of `python -m speech_commands.synthetic`.

    Raises:
        DemoError: it could not be made; why is on the terminal.
    """
    command = [sys.executable, "-m", "speech_commands.synthetic", "--seed", str(seed), *options]
    # In a session of its own it is told to end once, by this process, and can tidy up after itself.
    with subprocess.Popen(
        command,
        cwd=ROOT / "envoy",
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            folder, _ = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGINT)
            raise
    if process.returncode:
        raise DemoError(f"the embedded speech could not be made (exit code {process.returncode})")
    return Path(folder.rstrip("\n"))
