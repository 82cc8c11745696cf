"""`python -m simulation.superlink`: a SuperLink that simulates, for `flwr run`, until Ctrl-C.

`flower-superlink --simulation` lets Flower start Ray, which then lets in whoever reaches its ports, goes on
when the SuperLink ends, and often gives up on a busy machine. This one starts Ray as `make simulate` does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from demo.errors import DemoError
from demo.interrupts import Interrupted, raise_interrupted
from simulation.engine import HOST, Engine, most_workers, named_cluster
from simulation.options import require_flower
from superb_node import command_line
from superb_node.director.listening import own_port
from superb_node.errors import ConfigError

PROGRAM = "superlink"
_POLL_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit code: 0 after Ctrl-C, 1 for a failure, 2 for a bad option."""
    command_line.set_up_output()
    command_line.keep_files_private()
    parser = argparse.ArgumentParser(prog=f"python -m simulation.{PROGRAM}", description=__doc__)
    parser.add_argument("--port", default=os.environ.get("DIRECTOR_PORT") or "50050")
    try:
        require_flower()
        port = command_line.legal_port(parser.parse_args(arguments).port)
        with own_port(HOST, port, PROGRAM):  # Flower says it in a traceback
            pass
    except (ConfigError, DemoError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    try:
        with raise_interrupted(), tempfile.TemporaryDirectory(prefix="superb-superlink-") as folder:
            serve(port, Path(folder))
    except Interrupted:
        print(f"{PROGRAM}: everything is stopped")
    except DemoError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    return 0


def serve(port: int, folder: Path) -> None:
    """Serve for ever.

    Args:
        port: of this machine alone.
        folder: for Flower's files.

    Raises:
        DemoError: Ray or the SuperLink did not come up, or ended.
    """
    logs = folder / "logs"
    with Engine(folder / "flower", logs, clients=0, workers=most_workers()) as engine:
        cluster = named_cluster()
        where = f"on the Ray cluster at {cluster}" if cluster else "and Ray"
        print(f"{PROGRAM}: starting a SuperLink that simulates, {where} ...")
        engine.serve(port)
        print(f"{PROGRAM}: listening at {HOST}:{port}, for flwr run; the logs are in {logs}; Ctrl-C ends it")
        while True:
            engine.check()
            time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
