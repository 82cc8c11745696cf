"""Becomes a command of Flower, once it has all that it needs: signals and exit codes are the real ones."""

from __future__ import annotations

import os
import platform
import socket
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from superb_node.errors import ConfigError

KEEPS_TO_ITSELF = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
"""Variables without which Flower tells its makers who uses it, and asks for a newer release."""


def program(name: str) -> Path:
    """Return the file of a command of Flower or Ray, in this Python's environment.

    Raises:
        ConfigError: Flower is not installed there.
    """
    file = Path(sysconfig.get_path("scripts"), name)
    if not file.is_file():
        # An owner who has the envoy's part alone has the constraints, too, and no list of requirements.
        raise ConfigError(
            f"Flower is not installed for {sys.executable}, which is Python {platform.python_version()}. "
            "In the folder that holds constraints.txt, in an environment of Python 3.11 or later: "
            "pip install flwr -c constraints.txt"
        )
    return file


def become(
    file: Path, own: Sequence[str], further: Sequence[str], environment: Mapping[str, str] | None = None
) -> NoReturn:
    """Run a command of Flower in the place of this process.

    Args:
        file: of the command.
        own: the options that we give it; each begins with its name.
        further: the owner's, for Flower.
        environment: variables besides those of this process.

    Raises:
        ConfigError: the owner gives an option that we give as well.
    """
    taken = [option.partition("=")[0] for option in own]
    for option in further:
        name = option.partition("=")[0]
        # Flower takes an option by its first letters as well.
        if name.startswith("--") and any(each.startswith(name) for each in taken):
            raise ConfigError(f"{name} is set already; {file.name} --help lists the others")
    variables = {
        **KEEPS_TO_ITSELF,
        **os.environ,
        # It looks there for the commands that it starts itself.
        "PATH": os.pathsep.join((str(file.parent), os.environ.get("PATH", os.defpath))),
        **(environment or {}),
    }
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(file, [str(file), *own, *further], variables)


def held_port() -> int:
    """Return a port of this machine which nobody else is given while this process lives, whatever it becomes.

    A server that sets SO_REUSEADDR, as all do, may listen on it.
    """
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = int(holder.getsockname()[1])
        os.set_inheritable(holder.detach(), True)
    return port
