"""Run an envoy, the data owner's side of the federation, until Ctrl-C or SIGTERM; in `envoy/` or a copy.

python -m superb_node.envoy --name env_one --config envoy_config.yaml --director-host localhost
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from superb_node import command_line

try:
    from superb_node import local_socket
    from superb_node.approval.gate import Gate
    from superb_node.approval.store import APPROVAL_FOLDER
    from superb_node.envoy.config import EnvoyConfig, build_descriptor, require_devices
    from superb_node.envoy.dialling import add_options, whom_to_serve
    from superb_node.loopback import in_uri
    from superb_node.stop_signals import StoppedBySignal, stop_on_signals
    from superb_node.text import safe_lines
    from superb_node.work_folder import exclusive_lock, own_work_folder
except ModuleNotFoundError as error:
    sys.exit(command_line.say_what_to_install("envoy", "-r sd_requirements.txt", error))

ROLE = "envoy"
WORK_FOLDER = Path("work")
"""Below the folder in which the envoy is started."""

logger = logging.getLogger("envoy")


@contextmanager
def own_folder(home: Path, name: str) -> Iterator[Path]:
    """Work in `work/<name>`, which no second envoy of that name can take.

    Raises:
        ConfigError: an envoy of that name already runs from this folder, what is there is not an envoy's, or
            nothing can be written or locked there.
    """
    taken = (
        f"an envoy named {name} already runs from this folder; for a further one copy the folder, "
        "change the rank in its envoy_config.yaml and start it under another name"
    )
    work = home / WORK_FOLDER
    with (
        exclusive_lock(work / f".{name}.lock", ROLE, f"envoy named {name}", taken),
        own_work_folder(work / name, ROLE) as folder,
    ):
        yield folder


def run(arguments: argparse.Namespace) -> None:
    """Check config and data, then serve the director."""
    command_line.require_home()
    home = Path.cwd()
    host, port, certificates = whom_to_serve(arguments)
    over_tcp = certificates is not None or arguments.plaintext
    config = EnvoyConfig.load(arguments.config)
    if config.cpu_threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(config.cpu_threads)  # read when torch is imported
    require_devices(config.cuda_devices)
    descriptor = build_descriptor(config)

    # OpenFL takes seconds to import; a mistake in the config or the data is reported before that.
    from superb_node.envoy.confinement import shard_paths
    from superb_node.envoy.envoy import Envoy
    from superb_node.envoy.personal import PERSONAL_FOLDER
    from superb_node.envoy.template import Template
    from superb_node.envoy.worker import Worker

    worker = Worker(
        name=arguments.name,
        director_host=in_uri(host),
        director_port=arguments.director_port,
        by_socket=not over_tcp,
        certificates=certificates.files if certificates else None,
        shard_descriptor=descriptor,
        data=shard_paths(descriptor, config.descriptor_params),
        cuda_devices=config.cuda_devices,
    )
    # Before anything calls by gRPC, which does not survive a fork.
    with (
        closing(Template(worker.prepare, worker.work)) as template,
        own_folder(home, arguments.name),
    ):
        gate = Gate(config.gate, f"the owner of {arguments.name}", home / APPROVAL_FOLDER / arguments.name)
        gate.announce(host)
        Envoy(
            gate=gate,
            template=template,
            personal=home / PERSONAL_FOLDER / arguments.name,
            shard_name=arguments.name,
            director_host=in_uri(host) if over_tcp else local_socket.HOST,
            director_port=port if over_tcp else local_socket.path(port),
            shard_descriptor=descriptor,
            tls=certificates is not None,
            root_certificate=certificates and certificates.root_certificate,
            private_key=certificates and certificates.private_key,
            certificate=certificates and certificates.certificate,
            install_requirements=False,
            cuda_devices=config.cuda_devices,
        ).start()


def main() -> int:
    """Start the envoy; returns the exit code."""
    command_line.set_up_output()
    command_line.keep_files_private()
    parser = argparse.ArgumentParser(prog=ROLE, description="Run an envoy of the federation.")
    add_options(parser)
    command_line.set_up_logging()
    # It repeats in twelve lines what the envoy says in one.
    logging.getLogger("openfl.transport.grpc.director_client").setLevel(logging.CRITICAL)
    stop_on_signals()
    try:
        run(parser.parse_args())
    except ValueError as error:  # ConfigError, the data's own errors, and ShardRefused, which may pass
        print(safe_lines(f"{ROLE}: {error}"), file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except ModuleNotFoundError as error:
        return command_line.say_what_to_install(ROLE, "-r sd_requirements.txt", error)
    except StoppedBySignal as stopped:
        logger.info("Envoy stopped")
        command_line.end_by_signal(stopped.signum)
    return 1


if __name__ == "__main__":
    sys.exit(main())
