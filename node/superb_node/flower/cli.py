"""Flower's own command line, asked for answers in JSON."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from superb_node.certificates import ROOT_CERTIFICATE
from superb_node.errors import ConfigError, ToldError
from superb_node.flower.launch import KEEPS_TO_ITSELF, program

SUPERLINK = "tutorial"
"""Name of the SuperLink in the configuration."""

_COLOURS = ("FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "PY_COLORS", "TTY_COMPATIBLE")


class FlowerRefused(ToldError):
    """Flower's CLI, or the run that it started, did not do what was asked.

    Attributes:
        installed: whether Flower is there at all.
    """

    installed = True


def toml_value(value: str | int | float | bool) -> str:
    """Return a value as TOML spells it, such as a path or what a run's config holds."""
    # JSON's spelling, but TOML refuses JSON's two escapes of a character beyond the BMP, and DEL as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def superlink_config(address: str, root_certificate: Path | None = None) -> str:
    """Return the `config.toml` of Flower's command line for one SuperLink, under the name `SUPERLINK`.

    Args:
        address: its host and port.
        root_certificate: file of the authority by which it is known; None: no TLS.
    """
    known = "insecure = true"
    if root_certificate is not None:
        known = f"root-certificates = {toml_value(str(root_certificate))}"
    lines = ["[superlink]", f"default = {toml_value(SUPERLINK)}", f"[superlink.{SUPERLINK}]"]
    return "\n".join([*lines, f"address = {toml_value(address)}", known]) + "\n"


class FlowerCli:
    """Flower's command line, with a configuration of its own for one SuperLink.

    Args:
        host: of the SuperLink.
        port: of the SuperLink.
        certificates: folder of `make certs`, by whose authority the SuperLink is known; None: no TLS.
    """

    def __init__(self, host: str, port: int, certificates: str | None = None) -> None:
        root = None if certificates is None else Path(certificates).expanduser() / ROOT_CERTIFICATE
        self._config = superlink_config(f"{host}:{port}", root and root.resolve())

    def __call__(self, *arguments: str) -> dict[str, Any]:
        """Run `flwr` and return what it answers in JSON.

        Raises:
            FlowerRefused: it is not installed, nobody answers, or it says no.
        """
        try:
            command = program("flwr")
        except ConfigError as error:
            refused = FlowerRefused(error)
            refused.installed = False
            raise refused from error
        # In a notebook's kernel programs are asked to colour what they print, their JSON too.
        plain = {name: value for name, value in os.environ.items() if name not in _COLOURS}
        # For one call: a kernel is killed at its end, and cleans nothing up.
        with tempfile.TemporaryDirectory(prefix="superb-flower-") as home:
            Path(home, "config.toml").write_text(self._config, encoding="utf-8")
            done = subprocess.run(
                [str(command), *arguments, "--format", "json"],
                env={**plain, **KEEPS_TO_ITSELF, "FLWR_HOME": home, "TERM": "dumb"},
                capture_output=True,
                encoding="utf-8",
            )
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            answer = {"success": False, "error-message": (done.stderr or done.stdout).strip()[-500:]}
        if not answer.get("success"):
            raise FlowerRefused(f"flwr {arguments[0]}: {answer.get('error-message', 'no reason given')}")
        return answer
