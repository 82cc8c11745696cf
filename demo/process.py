"""One started service: its log, its exit code, and how it is stopped without leaving anything behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from demo.errors import DemoError
from demo.interrupts import held_back

TAIL_LINES = 30
GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.05


class ProcessDied(DemoError):
    """A service ended although nobody had stopped it.

    Attributes:
        name: the service, such as "director" or "env_two".
        exit_code: its exit code; negative for the signal that ended it.
        log_path: its whole log.
        log_tail: the last lines of that log.
    """

    def __init__(self, name: str, exit_code: int, log_path: Path, log_tail: str) -> None:
        self.name = name
        self.exit_code = exit_code
        self.log_path = log_path
        self.log_tail = log_tail
        super().__init__(f"{name} ended with exit code {exit_code}; the end of its log:\n{log_tail}")


class ServiceProcess:
    """A command that runs in a session of its own and writes stdout and stderr into a log file.

    The session keeps the terminal's Ctrl-C away from the service and makes one process group of
    everything that it starts, so that all of it can be stopped together.
    """

    def __init__(
        self, name: str, command: Sequence[str], cwd: Path, environment: Mapping[str, str], log_path: Path
    ) -> None:
        """Start `command`.

        Args:
            name: how messages call the service.
            command: program and arguments.
            cwd: its working directory.
            environment: all of its environment variables.
            log_path: file that receives its output; appended to, the folder must exist.
        """
        self.name = name
        self.log_path = log_path
        with log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def exit_code(self) -> int | None:
        """Exit code, or None while the service runs."""
        return self._popen.poll()

    def log_tail(self, lines: int = TAIL_LINES) -> str:
        """The last `lines` lines of the log."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def check(self) -> None:
        """Raise ProcessDied if the service has ended."""
        exit_code = self.exit_code()
        if exit_code is not None:
            raise ProcessDied(self.name, exit_code, self.log_path, self.log_tail())

    def send_signal(self, number: int) -> None:
        """Send a signal to everything that the service started, itself included."""
        # Gone already, or (macOS) nothing but a zombie.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End the service at once, as a power cut would."""
        self.send_signal(signal.SIGKILL)
        self._popen.wait()


def stop_all(processes: Iterable[ServiceProcess], grace_seconds: float = GRACE_SECONDS) -> None:
    """Ask all services to end, together, and after `grace_seconds` kill what is left of them."""
    started = list(processes)
    with held_back():
        for process in started:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline and any(process.exit_code() is None for process in started):
            time.sleep(_POLL_SECONDS)
        for process in started:
            # A service may be gone while a child of it is not, hence all of them.
            process.kill()
