"""The command that starts the envoy of one's own voice, for a terminal in the notebook's folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from superb_ks.settings import Addresses
from superb_node.loopback import ALLOW_PLAINTEXT
from superb_notebook.own_voice.folder import VoiceError

CONFIG = "envoy_config.yaml"


def command_that_starts(name: str, folder: Path, addresses: Addresses) -> str:
    """Return the command, with each variable that the start script would not have by itself.

    Args:
        name: of the envoy.
        folder: of the envoy.
        addresses: where the director is, and whether it is called by TLS.

    Raises:
        VoiceError: the director speaks TLS, and the envoy has no certificates.
    """
    usual = Addresses()
    variables: dict[str, tuple[str, str]] = {}
    if addresses.certificates is not None:
        script = ["start_envoy_with_tls.sh", name, addresses.director_host]
        own = os.path.relpath(_certificates(name, addresses.certificates), folder.resolve())
        variables["CERTIFICATES"] = own, f"../certs/{name}"
    else:
        script = ["start_envoy.sh", name]
        variables["DIRECTOR_HOST"] = addresses.director_host, usual.director_host
    variables["DIRECTOR_PORT"] = str(addresses.director_port), str(usual.director_port)
    if addresses.insecure_allow_plaintext_on_network:
        script += [CONFIG, ALLOW_PLAINTEXT]
    # Whatever is set here may be set in the terminal, too, and to something else.
    said = [
        f"{variable}={shlex.quote(value)}"
        for variable, (value, default) in variables.items()
        if value != default or variable in os.environ
    ]
    start = " ".join([*said, "bash", *map(shlex.quote, script)])
    return f"cd {shlex.quote(os.path.relpath(folder))} && {start}"


def _certificates(name: str, notebooks: str) -> Path:
    """Return the envoy's folder of `make certs`, which is beside the notebook's own."""
    folder = Path(os.path.expanduser(notebooks)).resolve().parent / name
    if not folder.is_dir():
        raise VoiceError(
            f"with TLS, the envoy {name} needs certificates, and there are none in "
            f"{os.path.relpath(folder)}. In the project's folder, on the machine that has the authority: "
            f"make certs ENVOYS={name}; put the new folder there, and run this cell again"
        )
    return folder
