"""What commands do alike: director and envoy when they start, and others that read numbers."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from superb_node.errors import ConfigError
from superb_node.loopback import ALLOW_PLAINTEXT
from superb_node.text import safe_lines, shortened

INSTALL_OPENFL = "pip install --no-deps --ignore-requires-python openfl==1.7.1"
MIN_PORT, MAX_PORT = 1024, 65535
MAX_LOGGED_CHARACTERS = 20_000
"""Of a log line with its further lines: nobody outside fills the disk with a few calls."""


class SafeFormatter(logging.Formatter):
    """Writes log lines whose texts may be an envoy's or an experiment's: no terminal obeys them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; further lines, as of a traceback, are indented, and a long end is cut off."""
        return shortened(safe_lines(super().format(record)), MAX_LOGGED_CHARACTERS)


def set_up_output() -> None:
    """Show what the terminal cannot show, such as the name of a folder, as escapes."""
    if sys.stdout:  # not closed, as by >&-
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def keep_files_private() -> None:
    """Let other users of this machine read nothing that a service writes: experiments, records, models."""
    os.umask(0o077)


def set_up_logging() -> None:
    """Log this project's own lines with the time, and OpenFL's errors only."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("openfl").setLevel(logging.ERROR)


def say_what_to_install(role: str, requirements: str, missing: ModuleNotFoundError) -> int:
    """Tell an owner how a node gets the library that it lacks; returns the exit code.

    Args:
        role: "director" or "envoy".
        requirements: what pip installs for it, such as "-r sd_requirements.txt", from the role's folder.
        missing: what Python said.
    """
    others = "" if missing.name == "openfl" else f"pip install {requirements}, then "
    print(
        f"{role}: {missing} for {sys.executable}. In this folder, in an environment for it "
        f"(python3 -m venv): {others}{INSTALL_OPENFL}",
        file=sys.stderr,
    )
    return 2


def require_home() -> None:
    """Make sure that this user has a home folder: OpenFL looks for it when it is imported.

    Raises:
        ConfigError: there is none.
    """
    try:
        Path.home()
    except RuntimeError as error:
        raise ConfigError("this user has no home folder; set HOME to a folder, such as HOME=/tmp") from error


def add_tls_options(parser: argparse.ArgumentParser, plaintext: str) -> None:
    """Add the options for a node's certificates, and for having none on a network.

    Args:
        parser: of a service's command; the results are `certificates` and `plaintext`.
        plaintext: what the service then does, for the help.
    """
    parser.add_argument("--certificates", type=Path, help="folder that `make certs` made: speak TLS only")
    parser.add_argument(
        ALLOW_PLAINTEXT, dest="plaintext", action="store_true", help=f"without TLS, {plaintext}"
    )


def legal_port(value: object) -> int:
    """Read the director's port.

    Raises:
        ConfigError: it is none.
    """
    text = str(value)
    if not text.isascii() or not text.isdigit() or not MIN_PORT <= int(text) <= MAX_PORT:
        raise ConfigError(f"the director's port is {value!r}; legal: {MIN_PORT} to {MAX_PORT}")
    return int(text)


def end_by_signal(signum: int) -> None:
    """End this process in the way that a shell expects after `signum`: exit code 128 + signum."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def whole_from(least: int) -> Callable[[str], int]:
    """Return what reads an option's value for `argparse` and refuses all but whole numbers from `least`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r}; legal: a whole number from {least}")
        return value

    return read
