"""Run the director of the federation until Ctrl-C or SIGTERM.

python director_service.py --config director_config.yaml
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import gc
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path


def say_what_to_install(missing: ModuleNotFoundError) -> int:
    """Tell the owner how this director gets what it lacks; returns the exit code."""
    others = "" if missing.name == "openfl" else "pip install -r ../envoy/sd_requirements.txt, then "
    print(
        f"director: {missing} for {sys.executable}. In an environment for it (python3 -m venv): "
        f"{others}pip install --no-deps --ignore-requires-python openfl==1.7.1",
        file=sys.stderr,
    )
    return 2


try:
    from director_certificates import CertificateError, Certificates
    from director_gate import SETTINGS, Gate, GateSettings, IllegalSetting
    from director_listening import (
        ALLOW_PLAINTEXT,
        ListeningRefused,
        in_uri,
        legal_host,
        require_free,
        require_guarded,
    )
    from director_review import DESKS
    from director_yaml import read_yaml
except ModuleNotFoundError as error:
    sys.exit(say_what_to_install(error))

WORK_FOLDER = Path(__file__).resolve().parent / "work"
# Models, records and manifests of all experiments; they stay when the director stops.
EXPERIMENTS_FOLDER = Path(__file__).resolve().parent / "experiments"
# Only folders that hold this file are ever swept.
MARKER = ".superb-federated-work"

logger = logging.getLogger("director")


class ConfigError(ValueError):
    """The config cannot be used; the message names the setting and the legal values."""


@dataclass(frozen=True)
class DirectorConfig:
    """Settings of the director; see ``director_config.yaml`` for what they mean."""

    listen_host: str = "localhost"
    listen_port: int = 50050
    sample_shape: tuple[str, ...] = ("16000",)
    target_shape: tuple[str, ...] = ("1",)
    envoy_health_check_period: int = 5
    envoys: tuple[str, ...] | None = None
    gate: GateSettings = GateSettings()

    @classmethod
    def load(cls, path: Path) -> DirectorConfig:
        """Read the YAML file at ``path``; ``DIRECTOR_HOST`` and ``DIRECTOR_PORT`` take precedence.

        Raises:
            ConfigError: no such file, not YAML, an unknown setting or an illegal value.
            ListeningRefused: ``listen_host`` is none.
        """
        if not path.is_file():
            raise ConfigError(f"no director config at {path}")
        try:
            settings = dict((read_yaml(path) or {}).get("settings") or {})
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} is not a YAML file with a `settings:` section: {error}") from error
        try:
            gate = GateSettings.take(settings, path)
        except IllegalSetting as error:
            raise ConfigError(str(error)) from error
        own = [name for name in cls.__dataclass_fields__ if name != "gate"]
        unknown = sorted(set(settings) - set(own))
        if unknown:
            known = ", ".join([*own, *SETTINGS])
            raise ConfigError(f"{path}: unknown setting {unknown[0]!r}; legal are {known}")
        settings["listen_host"] = legal_host(
            os.environ.get("DIRECTOR_HOST") or settings.get("listen_host", "localhost")
        )
        settings["listen_port"] = _port(os.environ.get("DIRECTOR_PORT") or settings.get("listen_port", 50050))
        for shape in ("sample_shape", "target_shape"):
            if shape in settings and not isinstance(settings[shape], list):
                raise ConfigError(
                    f"{path}: {shape} is {settings[shape]!r}; a list such as ['16000'] is legal"
                )
            if shape in settings:
                settings[shape] = tuple(map(str, settings[shape]))
        settings["envoys"] = _envoys(settings.get("envoys"), path)
        period = settings.get("envoy_health_check_period", 5)
        if not isinstance(period, int) or not 1 <= period <= 3600:
            raise ConfigError(f"envoy_health_check_period is {period!r}; legal are 1 to 3600 seconds")
        return cls(**settings, gate=gate)


def _envoys(names: object, path: Path) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{path}: envoys is {names!r}; a list of names such as [env_one, env_two] is legal")
    return tuple(names)


def _port(value: object) -> int:
    try:
        port = int(str(value))
    except ValueError:
        port = 0
    if not 1024 <= port <= 65535:
        raise ConfigError(f"the director's port is {value!r}; legal are 1024 to 65535")
    return port


def require_home() -> None:
    """Make sure that this user has a home folder: OpenFL looks for it when it is imported.

    Raises:
        ConfigError: there is none.
    """
    try:
        Path.home()
    except RuntimeError as error:
        raise ConfigError("this user has no home folder; set HOME to a folder, such as HOME=/tmp") from error


def require_free_port(host: str, port: int) -> None:
    """Fail early, and with a better message than gRPC's, if something listens at ``host:port``.

    Raises:
        ConfigError: the port is taken, or the host is not an address of this machine.
    """
    try:
        require_free(host, port)
    except OSError as error:
        advice = "DIRECTOR_HOST must be a name or an address of this machine"
        if error.errno == errno.EADDRINUSE:
            advice = "Is another director running? Stop it, or choose another port with DIRECTOR_PORT"
        raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror}). {advice}") from error


@contextmanager
def only_director_here() -> Iterator[None]:
    """Keep a second director out of this folder: both would write to the same experiments.

    Raises:
        ConfigError: one runs from here, or nothing can be written or locked here.
    """
    try:
        WORK_FOLDER.mkdir(exist_ok=True)
        EXPERIMENTS_FOLDER.mkdir(exist_ok=True)
        lock = (WORK_FOLDER / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise unwritable(error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                "a director already runs from this folder; for another one, copy the folder"
            ) from error
        except OSError as error:  # some network file systems have no locks
            raise ConfigError(
                f"{WORK_FOLDER} is on a file system that cannot lock a file ({error.strerror}), so a second "
                f"director could not be kept out; copy the folder {WORK_FOLDER.parent} to a local disk "
                "and start the director there"
            ) from error
        yield


@contextmanager
def own_work_folder(name: str) -> Iterator[None]:
    """Work in an empty ``work/<name>``; what a crash left there is swept, and the folder goes at the end.

    Raises:
        ConfigError: what is there is not a director's, or nothing can be written there.
    """
    folder = WORK_FOLDER / name
    try:
        if (folder / MARKER).is_file():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} holds files that are not the director's; move them away")
        (folder / MARKER).touch()
    except OSError as error:
        raise unwritable(error) from error
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(WORK_FOLDER.parent)
        shutil.rmtree(folder, ignore_errors=True)


def unwritable(error: OSError) -> ConfigError:
    """Return what to say where this folder cannot be written."""
    return ConfigError(
        f"{error.filename or WORK_FOLDER} cannot be written ({error.strerror}); copy the folder "
        f"{WORK_FOLDER.parent} to where you may write, and start the director there"
    )


def leave_by(signum: int) -> None:
    """End this process in the way that a shell expects after ``signum``: exit code 128 + signum."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def serve(config: DirectorConfig, certificates: Certificates | None = None) -> int:
    """Serve until a signal comes, with mutual TLS if there are certificates; returns the signal's number."""
    # OpenFL takes seconds to import; a mistake in the config is reported before that.
    from director_corrections import TutorialDirector
    from director_server import TutorialDirectorServer
    from handshake_log import handshakes_in_plain_words

    gate = Gate(config.gate, "the director's owner", DESKS / "director")
    gate.announce(config.listen_host)
    server = TutorialDirectorServer(
        director_cls=TutorialDirector,
        tls=certificates is not None,
        root_certificate=certificates and certificates.root_certificate,
        private_key=certificates and certificates.private_key,
        certificate=certificates and certificates.certificate,
        listen_host=in_uri(config.listen_host),
        listen_port=config.listen_port,
        sample_shape=list(config.sample_shape),
        target_shape=list(config.target_shape),
        envoy_health_check_period=config.envoy_health_check_period,
        experiments_folder=EXPERIMENTS_FOLDER,
        envoys=config.envoys,
        gate=gate,
    )
    # What the libraries have made is never garbage: the collector need not look through all of it while an
    # experiment runs.
    gc.collect()
    gc.freeze()
    with handshakes_in_plain_words() if certificates else nullcontext():
        return server.serve_until_stopped()


def main() -> int:
    """Start the service; returns the exit code."""
    # Whatever the terminal cannot show, such as the name of a folder, is shown as escapes.
    if sys.stdout:  # not closed, as by >&-
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(description="Run the director of the federation.")
    parser.add_argument("--config", type=Path, default=Path("director_config.yaml"))
    parser.add_argument("--certificates", type=Path, help="folder that `make certs` made: speak TLS only")
    parser.add_argument(
        ALLOW_PLAINTEXT, dest="plaintext", action="store_true", help="without TLS, let other machines in"
    )
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("openfl").setLevel(logging.ERROR)
    try:
        require_home()
        config = DirectorConfig.load(arguments.config)
        folder = arguments.certificates
        certificates = None if folder is None else Certificates.in_folder(folder)
        require_guarded(config.listen_host, certificates, arguments.plaintext)
        require_free_port(config.listen_host, config.listen_port)
        with only_director_here(), own_work_folder(str(config.listen_port)):
            stopped_by = serve(config, certificates)
    except (ConfigError, CertificateError, ListeningRefused) as error:
        print(f"director: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        return say_what_to_install(error)
    logger.info("Director stopped")
    leave_by(stopped_by)
    return 128 + stopped_by


if __name__ == "__main__":
    sys.exit(main())
