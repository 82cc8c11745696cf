"""`python -m simulation.job`: one run of the engine, while somebody holds the other end of standard input.

A notebook's kernel or `make simulate` may be killed at any moment, and a SuperLink with all of Ray must not
outlive it. So they are this process's, which reads one line, the job, and ends when there is nothing more to
read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from demo.interrupts import Interrupted, raise_interrupted
from demo.speech import make_synthetic_speech
from simulation.engine import Engine


@dataclass(frozen=True)
class Job:
    """What the engine has to do.

    Attributes:
        app: folder of the Flower app, with the experiment's text in it.
        config: what its run config says in place of the app's defaults.
        folder: receives Flower's files.
        logs: receives the logs.
        clients, workers: those of `Engine`.
        speakers: of the synthetic speech, which is made if it is not there; None: the clips are there.
    """

    app: str
    config: dict[str, Any]
    folder: str
    logs: str
    clients: int
    workers: int
    speakers: int | None

    def to_line(self) -> str:
        """Return it as the line that this program reads."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    def carry_out(self) -> None:
        """Run the engine until its run has ended.

        Raises:
            DemoError: there is no speech, or the SuperLink did not come up, or ended.
        """
        if self.speakers is not None:
            make_synthetic_speech(self.config["seed"], "--speakers", str(self.speakers))
        with Engine(Path(self.folder), Path(self.logs), self.clients, self.workers) as engine:
            for _ in engine.run(self.config, Path(self.app)):
                pass


def main() -> int:
    """Carry out the job of the first line; returns the exit code."""
    job = Job(**json.loads(sys.stdin.readline()))
    try:
        with raise_interrupted():
            threading.Thread(target=_end_with_the_caller, daemon=True).start()
            job.carry_out()
    except Interrupted as interrupted:
        return interrupted.exit_code
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _end_with_the_caller() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
