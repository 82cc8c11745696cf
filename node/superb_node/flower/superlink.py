"""Run Flower's SuperLink, in the director's place, until Ctrl-C or SIGTERM; in `director/` or a copy of it.

python -m superb_node.flower.superlink --host localhost --port 50050
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from superb_node import command_line

try:
    from superb_node.certificates import Certificates
    from superb_node.director.listening import own_port, require_tls_or_loopback
    from superb_node.errors import ConfigError
    from superb_node.flower import launch
    from superb_node.loopback import in_uri, legal_host
except ModuleNotFoundError as error:
    sys.exit(command_line.say_what_to_install("superlink", "-e ../node", error))

ROLE = "superlink"


def run(arguments: argparse.Namespace, further: Sequence[str]) -> None:
    """Check what a SuperLink needs, and become one.

    Raises:
        ConfigError: something is missing or illegal.
    """
    if "--simulation" in further:
        raise ConfigError("to simulate: python -m simulation.superlink, in the project's folder")
    program = launch.program("flower-superlink")
    host = legal_host(arguments.host, "DIRECTOR_HOST is ")
    port = command_line.legal_port(arguments.port)
    certificates = Certificates.given(arguments.certificates)
    require_tls_or_loopback(host, certificates, arguments.plaintext, service=ROLE)
    with own_port(in_uri(host), port, ROLE):  # Flower says it in a traceback
        pass
    own = [f"--host={host}", f"--port={port}", "--disable-runtime-dependency-installation"]
    if certificates is None:
        own.append("--insecure")
    else:
        names = ("--ssl-ca-certfile", "--ssl-certfile", "--ssl-keyfile")
        own += [f"{name}={file}" for name, file in zip(names, certificates.files, strict=True)]
        own.append("--enable-supernode-auth")
    launch.become(program, own, further)


def main() -> int:
    """Start the SuperLink; returns the exit code if it cannot be started."""
    command_line.set_up_output()
    command_line.keep_files_private()
    command_line.set_up_logging()
    parser = argparse.ArgumentParser(
        prog=ROLE,
        description="Run Flower's SuperLink; further options are those of flower-superlink.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", default="50050")
    command_line.add_tls_options(parser, "let other machines in")
    try:
        run(*parser.parse_known_args())
    except ConfigError as error:
        print(f"{ROLE}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
