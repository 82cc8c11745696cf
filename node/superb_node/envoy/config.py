"""An envoy's settings, from `envoy_config.yaml`, and the shard descriptor and devices that they name."""

from __future__ import annotations

import importlib
import inspect
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from superb_node.approval.settings import SETTINGS, GateSettings
from superb_node.errors import ConfigError
from superb_node.shard_card import NoCard, read_card
from superb_node.yaml_config import read_yaml


@dataclass(frozen=True)
class EnvoyConfig:
    """Settings of an envoy; see `envoy_config.yaml` for what they mean."""

    descriptor: str
    descriptor_params: dict[str, Any] = field(default_factory=dict)
    cuda_devices: tuple[int, ...] = ()
    cpu_threads: int | None = None
    gate: GateSettings = GateSettings()

    @classmethod
    def load(cls, path: Path) -> EnvoyConfig:
        """Read the YAML file at `path`.

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
            raise ConfigError(f"{path}: unknown section {section!r}; legal: params, shard_descriptor")
        gate = GateSettings.take(params, path)
        unknown = sorted(set(params) - {"cuda_devices", "cpu_threads"})
        if unknown:
            raise ConfigError(
                f"{path}: unknown setting params.{unknown[0]}; legal: cuda_devices, cpu_threads, "
                f"{', '.join(SETTINGS)}"
            )
        if "." not in str(descriptor.get("template", "")):
            raise ConfigError(f"{path}: shard_descriptor.template must be module.Class")
        threads = params.get("cpu_threads")
        if threads is not None and (type(threads) is not int or threads < 1):
            raise ConfigError(f"{path}: params.cpu_threads is {threads!r}; legal: null or 1 and more")
        return cls(
            descriptor=descriptor["template"],
            descriptor_params=dict(descriptor.get("params") or {}),
            cuda_devices=_devices(params.get("cuda_devices"), path),
            cpu_threads=threads,
            gate=gate,
        )


def _devices(numbers: object, path: Path) -> tuple[int, ...]:
    devices = [] if numbers is None else numbers
    if not isinstance(devices, list) or any(type(number) is not int or number < 0 for number in devices):
        raise ConfigError(
            f"{path}: params.cuda_devices is {devices!r}; a list of numbers from 0 such as [0] is legal"
        )
    if len(set(devices)) < len(devices):
        raise ConfigError(f"{path}: params.cuda_devices is {devices}; a device may be listed only once")
    return tuple(devices)


def build_descriptor(config: EnvoyConfig) -> Any:
    """Make the shard descriptor that the config names; it finds and checks the data.

    Raises:
        ConfigError: it cannot be imported, takes other parameters, or describes its data by no shard card.
    """
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
    try:
        read_card(descriptor.dataset_description)
    except NoCard as error:
        raise ConfigError(
            f"shard_descriptor.template {config.descriptor}: its dataset_description is no shard card: "
            f"{error}"
        ) from error
    return descriptor


def _device_count() -> int:
    """Count in a process of its own: CUDA that is used before a fork is lost after it."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that the child does without
        child = os.fork()
    if child == 0:
        count = 0
        try:
            count = torch.cuda.device_count()
        finally:
            os._exit(count)
    return max(0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def require_devices(devices: tuple[int, ...]) -> None:
    """Make sure that this machine has the CUDA devices of the config, as PyTorch counts them.

    PyTorch takes seconds to import, so it is asked only if a device is wanted.

    Raises:
        ConfigError: it has not.
    """
    if not devices:
        return
    import torch

    available = list(range(_device_count()))
    if set(devices) <= set(available):
        return
    if torch.version.cuda is None:
        why = f"PyTorch {torch.__version__} is built without CUDA; legal: []"
    elif not available:
        why = "PyTorch finds no CUDA device here; legal: []"
    else:
        why = f"PyTorch finds {available} here, and those are legal"
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        why += f" (CUDA_VISIBLE_DEVICES is {visible!r}; what it names is counted from 0)"
    raise ConfigError(f"params.cuda_devices is {list(devices)}: {why}")
