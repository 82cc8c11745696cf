"""What an experiment may read, write and call on an envoy, and what it finds in its environment."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import site
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from superb_node.envoy import landlock, seccomp

# Not all of /etc: with TLS, an envoy's keys may be there.
_SYSTEM = (
    "/usr /bin /sbin /lib /lib32 /lib64 /nix/store /opt/rocm /proc /sys /dev/urandom /dev/random /dev/zero "
    "/etc/ld.so.cache /etc/localtime /etc/timezone /etc/hosts /etc/host.conf /etc/resolv.conf /etc/gai.conf "
    "/etc/nsswitch.conf /etc/services /etc/protocols /etc/passwd /etc/group /etc/mime.types /etc/os-release"
).split()
_EXPERIMENTS = "superb_ks"
"""What experiments do on nodes."""
_DEVICES = ("/dev/null", "/dev/shm", "/dev/kfd", "/dev/dri")
_NVIDIA = "nvidia*"
# The variables that Python and the libraries of numbers go by. All others go: nobody can name all secrets.
_KEPT = re.compile(
    r"(PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TERM|LD_LIBRARY_PATH|XDG_CACHE_HOME|SUPERB_CACHE"
    r"|(PYTHON|CUDA|NVIDIA|HIP|ROC|OMP|GOMP|KMP|MKL|OPENBLAS|MALLOC|TORCH|PYTORCH|NCCL|TRANSFORMERS|HF|GRPC)"
    r"_?\w*)"
)
_SECRET = re.compile("TOKEN|SECRET|PASS|CREDENTIAL|KEY|AUTH")


def forget_secrets() -> None:
    """Remove all variables of the environment but those of Python and of its libraries.

    Linux shows the environment that a process began with in `/proc`, so it is overwritten there as well.
    """
    names = [name for name in os.environ if not _KEPT.fullmatch(name) or _SECRET.search(name)]
    if sys.platform == "linux":
        entries = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
        for number in range(len(os.environ)):
            if not entries[number]:
                break
            entry = ctypes.string_at(entries[number])
            if os.fsdecode(entry.partition(b"=")[0]) in names:
                ctypes.memset(entries[number] + entry.index(b"=") + 1, 0, len(entry) - entry.index(b"=") - 1)
    for name in names:
        del os.environ[name]


def possible() -> str:
    """Return in words what `confine` can take away here."""
    return f"{landlock.possible()}; {seccomp.possible()}"


def confine(folder: Path, data: Iterable[Path], model: Path | None, aggregator: int | Path) -> None:
    """Give up all rights that an experiment does not need; for good.

    Args:
        folder: the experiment's own, to which it may write.
        data: files and folders of the shard.
        model: resolved path of a model's folder, or None.
        aggregator: port of TCP, or Unix socket, by which it is called.

    Raises:
        OSError: the kernel refuses.
        LinkInTheWay: the model's folder was exchanged for a link.
    """
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    tempfile.tempdir = str(scratch)
    # What numba compiles would be loaded by the next process that finds it, which is not confined.
    os.environ.update(TMPDIR=str(scratch), NUMBA_CACHE_DIR=str(scratch), MPLCONFIGDIR=str(scratch))
    # Without a network the hub's client would try, and wait, and try again.
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True
    # Of the hub's files the models only: a token to log in lies beside them.
    readable = [*map(Path, _SYSTEM), *code_folders(), Path(constants.HF_HUB_CACHE), *data]
    models = [model] if model else []
    writable = [folder, *map(Path, _DEVICES), *Path("/dev").glob(_NVIDIA)]
    if isinstance(aggregator, int):
        landlock.restrict(readable, writable, [aggregator], no_links=models)
    else:
        landlock.restrict(readable, writable, [], [aggregator], models)
    seccomp.restrict()


def shard_paths(descriptor: Any, parameters: dict[str, Any]) -> tuple[Path, ...]:
    """Return where a shard's data are.

    Args:
        descriptor: says so in an attribute `paths`, if it has one.
        parameters: of the descriptor, in the envoy's config; otherwise the files and folders among them.
    """
    said = getattr(descriptor, "paths", None)
    if said is None:
        said = [text for text in _texts(parameters) if text and Path(text).expanduser().exists()]
    return tuple(sorted({Path(path).expanduser().resolve() for path in said}))


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value of a config, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


@functools.cache
def code_folders() -> tuple[Path, ...]:
    """Return where the code is: the Python installation, and what is imported from outside of it by now, such
    as a shard descriptor. The template calls it once for all workers.
    """
    installed = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    installed |= {*site.getsitepackages(), site.getusersitepackages()}
    found = [*installed, *(each for each in os.environ.get("LD_LIBRARY_PATH", "").split(":") if each)]
    inside = tuple(f"{folder}{os.sep}" for folder in installed)
    if (ours := find_spec(_EXPERIMENTS)) is not None:  # may not be imported yet
        found += ours.submodule_search_locations or ()
    for name, module in list(sys.modules.items()):
        if "." not in name:
            folders = list(getattr(module, "__path__", ()))
            file = getattr(module, "__file__", None)
            found += [path for path in folders or [file] if path and not path.startswith(inside)]
    return tuple(map(Path, found))
