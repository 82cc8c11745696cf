"""An envoy that runs only what its owner's gate lets in (see ``envoy_gate.py``)."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from openfl.protocols import director_pb2

from envoy_archive import MEGABYTE, NAME_PATTERN, UnsoundArchive
from envoy_corrections import DamagedArchive, SteadyEnvoy
from envoy_gate import POLL_SECONDS, Declined, Gate
from envoy_review import Submission

logger = logging.getLogger("envoy")

# Error codes of a report to the director, beside those of `envoy_corrections`.
DECLINED, WAITS = 3, 4
# Under this name the director tells who submitted an experiment.
AUTHOR_HEADER = "experiment-author-bin"
# How often the director is asked whether a waiting experiment still runs, and how long it has for its answer:
# it gives none when the experiment is over.
ASK_SECONDS, ANSWER_SECONDS = 10.0, 10.0


class GatedEnvoy(SteadyEnvoy):
    """Downloads no more than the limits allow, and asks the gate before anything of an archive is unpacked.

    Args:
        gate: of this node's owner.
        get_ready: called before each experiment that is let in.
    """

    def __init__(self, *, gate: Gate, get_ready: Callable[[], None] = lambda: None, **settings: Any) -> None:
        super().__init__(**settings)
        self.gate = gate
        self._get_ready = get_ready
        self._author = ""

    def _download(self, experiment_name: str) -> Path:
        if not NAME_PATTERN.fullmatch(experiment_name):
            raise DamagedArchive(
                f"experiment name {experiment_name!r}: legal are a letter, then up to 62 letters, digits, "
                "'-' or '_'"
            )
        stream = self.director_client.get_experiment_data(experiment_name)
        self._author = _author(stream)
        archive = Path(f"{uuid.uuid4()}.zip").absolute()
        try:
            self._receive(stream, archive)
        except OSError as error:
            archive.unlink(missing_ok=True)
            raise DamagedArchive(f"the archive of {experiment_name} was not received: {error}") from error
        except BaseException:
            archive.unlink(missing_ok=True)
            raise
        return archive

    def _receive(self, stream: Any, archive: Path) -> None:
        most, received = self.gate.settings.limits.megabytes * MEGABYTE, 0
        with archive.open("wb") as file:
            for chunk in stream:
                received += len(chunk.npbytes)
                if chunk.size != len(chunk.npbytes):
                    raise DamagedArchive(
                        "the archive arrived damaged: a part has another size than announced"
                    )
                if received > most:
                    stream.cancel()
                    raise DamagedArchive(
                        f"the experiment's archive has more than {most:,} bytes, "
                        "which archive_megabytes allows here"
                    )
                file.write(chunk.npbytes)

    def _take_part(self, experiment_name: str, archive: Path) -> None:
        try:
            wanted = self._is_let_in(experiment_name, archive.read_bytes())
            self._get_ready()
        except (Declined, UnsoundArchive) as declined:
            archive.unlink()
            logger.warning("Experiment %s: %s", experiment_name, declined)
            self._tell(experiment_name, DECLINED, str(declined))
            return
        except Exception as error:  # such as a full disk: the director goes on without us
            archive.unlink()
            logger.exception("Experiment %s failed before it began", experiment_name)
            self._report_failure(experiment_name, error)
            return
        except BaseException as stop:
            archive.unlink()
            self._report_failure(experiment_name, stop)
            raise
        if wanted:
            super()._take_part(experiment_name, archive)
        else:
            archive.unlink()
            logger.info("Experiment %s ended before it was approved", experiment_name)

    def _is_let_in(self, experiment_name: str, archive: bytes) -> bool:
        """Wait until the owner approves, or the experiment is over (False).

        Raises:
            Declined, UnsoundArchive: it does not run here.
        """
        submission = self.gate.look_through(experiment_name, self._author, archive)
        logger.info("Experiment %s of %r, digest %s", experiment_name, self._author, submission.digest)
        if self.gate.lets_in(submission):
            return True
        self._tell(experiment_name, WAITS, f"{experiment_name}, digest {submission.digest}")
        return self._wait_for_approval(submission, archive)

    def _wait_for_approval(self, submission: Submission, archive: bytes) -> bool:
        ask_at = time.monotonic() + ASK_SECONDS
        with self.gate.waits(submission, archive) as approved:
            self.gate.show(submission)
            while not approved():
                if time.monotonic() > ask_at:
                    if not self._still_runs(submission.name):
                        return False
                    ask_at = time.monotonic() + ASK_SECONDS
                time.sleep(POLL_SECONDS)
        return True

    def _still_runs(self, experiment_name: str) -> bool:
        """Ask the director for work: an experiment that has some for this envoy is named at once."""
        request = director_pb2.WaitExperimentRequest(collaborator_name=self.name)
        try:
            answer = self.director_client.stub.WaitExperiment(request, timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            # A director that is away may come back with the experiment.
            return bool(error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED)
        return bool(answer.experiment_name == experiment_name)

    def _tell(self, experiment_name: str, code: int, text: str) -> None:
        try:
            self.director_client.set_experiment_failed(experiment_name, code, text)
        except grpc.RpcError as unreachable:
            logger.warning("The director was not told: %s", unreachable)


def _author(stream: Any) -> str:
    """Return who submitted an experiment, as the director tells it before the archive; under TLS it has that
    from the author's certificate.
    """
    told = dict(stream.initial_metadata()).get(AUTHOR_HEADER, b"")
    return told.decode(errors="replace")[:200] or "somebody"
