"""Run an envoy, the data owner's side of the federation, until Ctrl-C or SIGTERM.

python envoy_service.py --name env_one --config envoy_config.yaml --director-host localhost
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import importlib
import inspect
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def say_what_to_install(missing: ModuleNotFoundError) -> int:
    """Tell the owner how this envoy gets what it lacks; returns the exit code."""
    others = "" if missing.name == "openfl" else "pip install -r sd_requirements.txt, then "
    print(
        f"envoy: {missing} for {sys.executable}. In this folder, in an environment for it (python3 -m venv): "
        f"{others}pip install --no-deps --ignore-requires-python openfl==1.7.1",
        file=sys.stderr,
    )
    return 2


try:
    from envoy_certificates import Certificates
    from envoy_dialling import ALLOW_PLAINTEXT, in_uri, legal_host, require_guarded
    from envoy_gate import SETTINGS, Gate, GateSettings
    from envoy_review import DESKS
    from envoy_threads import fair_threads
    from envoy_yaml import read_yaml
except ModuleNotFoundError as error:
    sys.exit(say_what_to_install(error))

WORK_FOLDER = Path(__file__).resolve().parent / "work"
# Only folders that hold this file are ever swept.
MARKER = ".superb-federated-work"
# What the description of a shard may have; a card has about a thousand.
MOST_CHARACTERS = 1_000_000
NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
# Loaded in the background at start, so that the first experiment does not wait for them.
PRELOADED = ("torch", "transformers.trainer", "transformers.models.wav2vec2.modeling_wav2vec2")

logger = logging.getLogger("envoy")


class ConfigError(ValueError):
    """The config cannot be used; the message names the setting and the legal values."""


class StoppedBySignal(BaseException):
    """Raised in the main thread by SIGINT and SIGTERM."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


@dataclass(frozen=True)
class EnvoyConfig:
    """Settings of an envoy; see ``envoy_config.yaml`` for what they mean."""

    descriptor: str
    descriptor_params: dict[str, Any] = field(default_factory=dict)
    cuda_devices: tuple[int, ...] = ()
    cpu_threads: int | None = None
    gate: GateSettings = GateSettings()

    @classmethod
    def load(cls, path: Path) -> EnvoyConfig:
        """Read the YAML file at ``path``.

        Raises:
            ConfigError: no such file, not YAML, an unknown setting or an illegal value.
        """
        if not path.is_file():
            raise ConfigError(f"no envoy config at {path}")
        try:
            config = read_yaml(path) or {}
            params = dict(config.get("params") or {})
            descriptor = dict(config.get("shard_descriptor") or {})
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} is not a YAML file of sections: {error}") from error
        for section in sorted(set(config) - {"params", "shard_descriptor"}):
            raise ConfigError(f"{path}: unknown section {section!r}; legal are params, shard_descriptor")
        gate = GateSettings.take(params, path)
        unknown = sorted(set(params) - {"cuda_devices", "cpu_threads"})
        if unknown:
            raise ConfigError(
                f"{path}: unknown setting params.{unknown[0]}; legal are cuda_devices, cpu_threads, "
                f"{', '.join(SETTINGS)}"
            )
        if "." not in str(descriptor.get("template", "")):
            raise ConfigError(f"{path}: shard_descriptor.template must be module.Class")
        threads = params.get("cpu_threads")
        if threads is not None and (type(threads) is not int or threads < 1):
            raise ConfigError(f"{path}: params.cpu_threads is {threads!r}; legal are null or 1 and more")
        devices = [] if params.get("cuda_devices") is None else params["cuda_devices"]
        if not isinstance(devices, list) or any(type(each) is not int or each < 0 for each in devices):
            raise ConfigError(
                f"{path}: params.cuda_devices is {devices!r}; a list of numbers from 0 such as [0] is legal"
            )
        if len(set(devices)) < len(devices):
            raise ConfigError(f"{path}: params.cuda_devices is {devices}; a device may be listed only once")
        return cls(
            descriptor=descriptor["template"],
            descriptor_params=dict(descriptor.get("params") or {}),
            cuda_devices=tuple(devices),
            cpu_threads=threads,
            gate=gate,
        )


def build_descriptor(config: EnvoyConfig) -> Any:
    """Make the shard descriptor that the config names; it finds and checks the data."""
    module_name, _, class_name = config.descriptor.rpartition(".")
    try:
        descriptor_class = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name not in (None, module_name.split(".")[0]):
            raise  # the descriptor is there, a library that it needs is not
        raise ConfigError(f"shard_descriptor.template {config.descriptor}: {error}") from error
    try:
        inspect.signature(descriptor_class).bind(**config.descriptor_params)
    except TypeError as error:
        raise ConfigError(f"shard_descriptor.params: {error}") from error
    descriptor = descriptor_class(**config.descriptor_params)
    description = descriptor.dataset_description
    if not isinstance(description, str) or len(description) > MOST_CHARACTERS:
        raise ConfigError(
            f"shard_descriptor.template {config.descriptor}: its dataset_description is "
            f"{type(description).__name__} {str(description)[:60]!r}; a text of up to {MOST_CHARACTERS:,} "
            "characters is legal"
        )
    return descriptor


def require_devices(devices: tuple[int, ...]) -> None:
    """Make sure that this machine has the CUDA devices of the config, as PyTorch counts them.

    PyTorch takes seconds to import, so it is asked only by who wants a device.

    Raises:
        ConfigError: it has not.
    """
    if not devices:
        return
    import torch

    there = list(range(torch.cuda.device_count()))
    if set(devices) <= set(there):
        return
    if torch.version.cuda is None:
        why = f"PyTorch {torch.__version__} is built without CUDA; legal is []"
    elif not there:
        why = "PyTorch finds no CUDA device here; legal is []"
    else:
        why = f"PyTorch finds {there} here, and those are legal"
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        why += f" (CUDA_VISIBLE_DEVICES is {visible!r}; what it names is counted from 0)"
    raise ConfigError(f"params.cuda_devices is {list(devices)}: {why}")


@contextmanager
def only_envoy_of(name: str) -> Iterator[None]:
    """Keep a second envoy of that name out of this folder.

    Raises:
        ConfigError: one runs from here, or nothing can be written or locked here.
    """
    try:
        WORK_FOLDER.mkdir(exist_ok=True)
        # The lock file stays: who removes it lets a second process lock another file of the same name.
        lock = (WORK_FOLDER / f".{name}.lock").open("w", encoding="utf-8")
    except OSError as error:
        raise unwritable(error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"an envoy named {name} already runs from this folder; for a further one copy the folder, "
                "change the rank in its envoy_config.yaml and start it under another name"
            ) from error
        except OSError as error:  # some network file systems have no locks
            raise ConfigError(
                f"{WORK_FOLDER} is on a file system that cannot lock a file ({error.strerror}), so a second "
                f"envoy named {name} could not be kept out; copy the folder {WORK_FOLDER.parent} to a local "
                "disk and start the envoy there"
            ) from error
        yield


@contextmanager
def own_work_folder(name: str) -> Iterator[Path]:
    """Work in an empty ``work/<name>``; what a crash left there is swept, and the folder goes at the end.

    Raises:
        ConfigError: an envoy of that name already runs from this folder, what is there is not an envoy's, or
            nothing can be written or locked there.
    """
    with only_envoy_of(name):
        folder = WORK_FOLDER / name
        try:
            if (folder / MARKER).is_file():
                shutil.rmtree(folder)
            folder.mkdir(exist_ok=True)
            if any(folder.iterdir()):
                raise ConfigError(f"{folder} holds files that are not the envoy's; move them away")
            (folder / MARKER).touch()
        except OSError as error:
            raise unwritable(error) from error
        before = Path.cwd()
        os.chdir(folder)
        # Scratch folders of tasks go with the work folder, even if a signal ends the process in between.
        tempfile.tempdir = str(folder)
        try:
            yield folder
        finally:
            os.chdir(before)
            tempfile.tempdir = None
            shutil.rmtree(folder, ignore_errors=True)


def unwritable(error: OSError) -> ConfigError:
    """Return what to say where this folder cannot be written."""
    return ConfigError(
        f"{error.filename or WORK_FOLDER} cannot be written ({error.strerror}); copy the folder "
        f"{WORK_FOLDER.parent} to where you may write, and start the envoy there"
    )


def preload() -> threading.Thread:
    """Import the heavy libraries in the background; returns the thread, which ends when they are there.

    They leave half a million objects, which Python's garbage collector would look through in the middle of a
    task, for a quarter of a second; none of them is ever garbage. No experiment may run meanwhile: what it
    makes would never be freed.
    """

    def load() -> None:
        for module_name in PRELOADED:
            importlib.import_module(module_name)
        gc.collect()
        gc.freeze()

    thread = threading.Thread(target=load, name="preload", daemon=True)
    thread.start()
    return thread


def before_experiments(libraries: threading.Thread, director_host: str, director_port: str) -> None:
    """Wait until the libraries are loaded, and take this envoy's share of the cores, as things are now."""
    libraries.join()
    if not os.environ.get("OMP_NUM_THREADS"):  # else the owner has decided
        import torch

        threads = fair_threads(director_host, director_port)
        torch.set_num_threads(threads)
        logger.info("Threads: %d", threads)


def stop_on_signals() -> None:
    """Turn SIGINT and SIGTERM into :class:`StoppedBySignal`; a second one is ignored while we clean up."""

    def stop(signum: int, _: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise StoppedBySignal(signum)

    def raise_again(unraisable: Any) -> None:
        # Python drops what is raised inside a finalizer. SIGALRM comes when that is over.
        if isinstance(unraisable.exc_value, StoppedBySignal):
            signum = unraisable.exc_value.signum
            signal.signal(signal.SIGALRM, lambda *_: stop(signum, None))
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = raise_again
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)


def legal_port(text: str) -> int:
    """Read the director's port.

    Raises:
        ConfigError: it is none.
    """
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise ConfigError(f"the director's port is {text!r}; legal are 1024 to 65535")
    return int(text)


def require_home() -> None:
    """Make sure that this user has a home folder: OpenFL looks for it when it is imported.

    Raises:
        ConfigError: there is none.
    """
    try:
        Path.home()
    except RuntimeError as error:
        raise ConfigError("this user has no home folder; set HOME to a folder, such as HOME=/tmp") from error


def run(arguments: argparse.Namespace) -> None:
    """Check config and data, then serve the director."""
    require_home()
    if not NAME_PATTERN.fullmatch(arguments.name):
        raise ConfigError(
            f"envoy name {arguments.name!r}: legal are a letter, then up to 62 letters, digits, '-' or '_'"
        )
    host, port = legal_host(arguments.director_host), legal_port(arguments.director_port)
    folder = arguments.certificates
    certificates = None if folder is None else Certificates.in_folder(folder)
    require_guarded(arguments.name, host, certificates, arguments.plaintext)
    config = EnvoyConfig.load(arguments.config)
    if config.cpu_threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(config.cpu_threads)  # read when torch is imported
    require_devices(config.cuda_devices)
    descriptor = build_descriptor(config)

    # OpenFL takes seconds to import; a mistake in the config or the data is reported before that.
    from gated_envoy import GatedEnvoy

    libraries = preload()
    with own_work_folder(arguments.name):
        gate = Gate(config.gate, f"the owner of {arguments.name}", DESKS / arguments.name)
        gate.announce(host)
        GatedEnvoy(
            gate=gate,
            get_ready=lambda: before_experiments(libraries, arguments.director_host, arguments.director_port),
            shard_name=arguments.name,
            director_host=in_uri(host),
            director_port=port,
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
    # Whatever the terminal cannot show, such as the name of a folder, is shown as escapes.
    if sys.stdout:  # not closed, as by >&-
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(description="Run an envoy of the federation.")
    parser.add_argument("--name", default="env_one")
    parser.add_argument("--config", type=Path, default=Path("envoy_config.yaml"))
    parser.add_argument("--director-host", default="localhost")
    parser.add_argument("--director-port", default="50050")
    parser.add_argument("--certificates", type=Path, help="folder that `make certs` made: speak TLS only")
    parser.add_argument(
        ALLOW_PLAINTEXT, dest="plaintext", action="store_true", help="without TLS, trust the network"
    )
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("openfl").setLevel(logging.ERROR)
    # It repeats what envoy_corrections says in one line, in twelve.
    logging.getLogger("openfl.transport.grpc.director_client").setLevel(logging.CRITICAL)
    stop_on_signals()
    try:
        run(parser.parse_args())
    except ValueError as error:  # ConfigError, the data's own errors, and ShardRefused, which may pass
        print(f"envoy: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except ModuleNotFoundError as error:
        return say_what_to_install(error)
    except StoppedBySignal as stopped:
        logger.info("Envoy stopped")
        signal.signal(stopped.signum, signal.SIG_DFL)
        os.kill(os.getpid(), stopped.signum)
    return 1


if __name__ == "__main__":
    sys.exit(main())
