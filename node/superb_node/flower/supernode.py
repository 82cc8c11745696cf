"""Run Flower's SuperNode, in an envoy's place, until Ctrl-C or SIGTERM; in `envoy/` or a copy of it.

python -m superb_node.flower.supernode --name env_one --config envoy_config.yaml --director-host localhost
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from superb_node import command_line

try:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
    )

    from superb_node.approval.settings import OPEN
    from superb_node.certificates import CertificateError, Certificates
    from superb_node.envoy.config import EnvoyConfig, build_descriptor, require_devices
    from superb_node.envoy.dialling import add_options, whom_to_serve
    from superb_node.errors import ConfigError
    from superb_node.flower import launch
    from superb_node.flower.cli import toml_value
    from superb_node.loopback import in_uri
    from superb_node.text import safe_lines
    from superb_node.tls_diagnosis import why_refused
    from superb_node.work_folder import unwritable
except ModuleNotFoundError as error:
    sys.exit(command_line.say_what_to_install("supernode", "-r sd_requirements.txt", error))

ROLE = "supernode"
HOMES = Path("work", ".flower")
"""Below the envoy's folder: where each of its SuperNodes unpacks the apps that it is sent.

With one folder for two, Flower starts what the other one is still unpacking.
"""

logger = logging.getLogger(ROLE)


def run(arguments: argparse.Namespace, further: Sequence[str]) -> None:
    """Check config and data, and become a SuperNode.

    Raises:
        ValueError: something is missing or illegal.
    """
    program = launch.program("flower-supernode")
    command_line.require_home()
    host, port, certificates = whom_to_serve(arguments, ROLE)
    config = EnvoyConfig.load(arguments.config)
    if config.gate.approval != OPEN:
        raise ConfigError(
            f"{arguments.config}: approval is {config.gate.approval}, and a SuperNode runs whatever its "
            "SuperLink sends. Start the envoy (start_envoy.sh), or set approval: open; Flower's own "
            "--trusted-entities FILE lets in only apps of its hub that somebody in FILE has signed"
        )
    require_devices(config.cuda_devices)
    build_descriptor(config)
    superlink = f"{in_uri(host)}:{port}"
    # Flower says at most that it tries again.
    files = None if certificates is None else certificates.files
    if reason := why_refused(host, port, files, asks_for_ours=False):
        raise ConfigError(f"{superlink} is no SuperLink for this SuperNode: {reason}")
    told = {
        "name": arguments.name,
        "envoy-config": str(arguments.config.absolute()),
        "home": str(Path.cwd()),
        "superlink": superlink,
    }
    own = [f"--superlink={superlink}", f"--node-config={_in_toml(told)}"]
    own += ["--insecure"] if certificates is None else _identity(certificates)
    if not any(option.startswith("--port") for option in further):
        own.append(f"--port={launch.held_port()}")
    path = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    launch.become(program, own, further, {"FLWR_HOME": str(_home(arguments.name)), "PYTHONPATH": path})


def _home(name: str) -> Path:
    home = Path.cwd() / HOMES / name
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(home.parents[1], "SuperNode", error) from error
    return home


def _in_toml(told: Mapping[str, str]) -> str:
    """Return what the app learns of its node, as Flower's command line takes it."""
    # Flower looks for the second quote before it reads the value as TOML.
    inside = {key: toml_value(text)[1:-1].replace('\\"', "\\u0022") for key, text in told.items()}
    return " ".join(f'{key}="{text}"' for key, text in inside.items())


def _identity(certificates: Certificates) -> list[str]:
    """Return the options by which a SuperNode and its SuperLink know each other.

    Flower wants the key in OpenSSH's format. It gets it through a pipe, so that no copy is on the disk.

    Raises:
        CertificateError: the key cannot be read.
    """
    file = certificates.private_key
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise CertificateError(f"{file} is not an unencrypted private key in PEM format") from error
    encoded = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    logger.info(
        "A SuperLink says Failed to activate SuperNode if it does not know the key of %s, or if a SuperNode "
        "with this key is connected, or was until a minute ago. Register an unknown key there, "
        "with the SuperLink's name in ~/.flwr/config.toml in place of CONNECTION: "
        "echo '%s' > %s.pub && flwr supernode register %s.pub CONNECTION",
        *(certificates.name, public, certificates.name, certificates.name),
    )
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(encoded)
    return [
        f"--root-certificates={certificates.root_certificate}",
        f"--auth-supernode-private-key=/dev/fd/{reading}",
    ]


def main() -> int:
    """Start the SuperNode; returns the exit code if it cannot be started."""
    command_line.set_up_output()
    command_line.keep_files_private()
    command_line.set_up_logging()
    parser = argparse.ArgumentParser(
        prog=ROLE,
        description="Run Flower's SuperNode; further options are those of flower-supernode.",
        allow_abbrev=False,
    )
    add_options(parser)
    try:
        run(*parser.parse_known_args())
    except ValueError as error:  # ConfigError, and the data's own errors
        print(safe_lines(f"{ROLE}: {error}"), file=sys.stderr)
    except ModuleNotFoundError as error:
        return command_line.say_what_to_install(ROLE, "-r sd_requirements.txt", error)
    return 2


if __name__ == "__main__":
    sys.exit(main())
