"""Run the director of the federation until Ctrl-C or SIGTERM, in the folder `director/` or a copy of it.

python -m superb_node.director --config director_config.yaml
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from superb_node import command_line

try:
    from superb_node import local_socket
    from superb_node.approval.gate import Gate
    from superb_node.approval.store import APPROVAL_FOLDER
    from superb_node.certificates import Certificates
    from superb_node.director.config import DirectorConfig
    from superb_node.director.listening import own_port, require_tls_or_loopback
    from superb_node.errors import ConfigError
    from superb_node.loopback import in_uri
    from superb_node.stop_signals import StoppedBySignal, stop_on_signals
    from superb_node.work_folder import exclusive_lock, own_work_folder, unwritable
except ModuleNotFoundError as error:
    sys.exit(command_line.say_what_to_install("director", "-e ../node", error))

ROLE = "director"
# Below the folder in which the director is started. Models, records and manifests of all experiments stay
# when it stops.
WORK_FOLDER, EXPERIMENTS_FOLDER = Path("work"), Path("experiments")

logger = logging.getLogger("director")


@contextmanager
def only_director_in(home: Path) -> Iterator[None]:
    """Keep a second director out of this folder: both would write to the same experiments.

    Raises:
        ConfigError: one runs from here, or nothing can be written or locked here.
    """
    taken = "a director already runs from this folder; for another one, copy the folder"
    with exclusive_lock(home / WORK_FOLDER / ".lock", ROLE, ROLE, taken):
        try:
            (home / EXPERIMENTS_FOLDER).mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(home / EXPERIMENTS_FOLDER, ROLE, error) from error
        yield


def serve(home: Path, config: DirectorConfig, address: str, certificates: Certificates | None = None) -> int:
    """Serve at `address` until a signal comes; returns its number. With certificates, by mutual TLS."""
    # OpenFL takes seconds to import; a mistake in the config is reported before that.
    from superb_node.director.director import Director
    from superb_node.director.limits import allow_open_files
    from superb_node.director.service import DirectorService

    allow_open_files(len(config.aggregator_port))
    gate = Gate(config.gate, "the director's owner", home / APPROVAL_FOLDER / ROLE)
    gate.announce(config.listen_host)
    host, _, port = address.rpartition(":")
    service = DirectorService(
        director_cls=Director,
        tls=certificates is not None,
        root_certificate=certificates and certificates.root_certificate,
        private_key=certificates and certificates.private_key,
        certificate=certificates and certificates.certificate,
        listen_host=host,
        listen_port=port,
        sample_shape=list(config.sample_shape),
        target_shape=list(config.target_shape),
        envoy_health_check_period=config.envoy_health_check_period,
        experiments_folder=home / EXPERIMENTS_FOLDER,
        envoys=config.envoys,
        gate=gate,
        aggregator_ports=config.aggregator_port,
    )
    return service.serve_until_stopped()


def main() -> int:
    """Start the service; returns the exit code."""
    command_line.set_up_output()
    command_line.keep_files_private()
    parser = argparse.ArgumentParser(prog=ROLE, description="Run the director of the federation.")
    parser.add_argument("--config", type=Path, default=Path("director_config.yaml"))
    command_line.add_tls_options(parser, "let other machines in")
    arguments = parser.parse_args()
    command_line.set_up_logging()
    stop_on_signals()  # until the service takes them
    home = Path.cwd()
    try:
        command_line.require_home()
        config = DirectorConfig.load(arguments.config)
        certificates = Certificates.given(arguments.certificates)
        require_tls_or_loopback(config.listen_host, certificates, arguments.plaintext)
        over_tcp = certificates is not None or arguments.plaintext
        host = in_uri(config.listen_host) if over_tcp else local_socket.HOST
        with (
            own_port(host, config.listen_port) as address,
            only_director_in(home),
            own_work_folder(home / WORK_FOLDER / str(config.listen_port), ROLE),
        ):
            stopped_by = serve(home, config, address, certificates)
    except ConfigError as error:
        print(f"{ROLE}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        return command_line.say_what_to_install(ROLE, "-e ../node", error)
    except StoppedBySignal as stopped:
        stopped_by = stopped.signum
    logger.info("Director stopped")
    command_line.end_by_signal(stopped_by)
    return 128 + stopped_by


if __name__ == "__main__":
    sys.exit(main())
