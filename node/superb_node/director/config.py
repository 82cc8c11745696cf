"""The director's settings, from `director_config.yaml` and the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from superb_node.approval.settings import SETTINGS, GateSettings
from superb_node.command_line import MAX_PORT, MIN_PORT, legal_port
from superb_node.errors import ConfigError
from superb_node.loopback import legal_host
from superb_node.yaml_config import read_yaml

MAX_AT_ONCE = 16
"""Experiments that run at the same time: each has a service of its own, and its model in memory."""


@dataclass(frozen=True)
class DirectorConfig:
    """Settings of the director; see `director_config.yaml` for what they mean."""

    listen_host: str = "localhost"
    listen_port: int = 50050
    aggregator_port: tuple[int, ...] = ()
    sample_shape: tuple[str, ...] = ("16000",)
    target_shape: tuple[str, ...] = ("1",)
    envoy_health_check_period: int = 5
    envoys: tuple[str, ...] | None = None
    gate: GateSettings = GateSettings()

    @classmethod
    def load(cls, path: Path) -> DirectorConfig:
        """Read the YAML file at `path`; `DIRECTOR_HOST` and `DIRECTOR_PORT` take precedence.

        Raises:
            ConfigError: no such file, not YAML, an unknown setting or an illegal value.
            HostRefused: `listen_host` is no host.
        """
        if not path.is_file():
            raise ConfigError(f"no director config at {path}")
        try:
            settings = dict((read_yaml(path) or {}).get("settings") or {})
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} is not a YAML file with a `settings:` section: {error}") from error
        gate = GateSettings.take(settings, path)
        own = [name for name in cls.__dataclass_fields__ if name != "gate"]
        unknown = sorted(set(settings) - set(own))
        if unknown:
            known = ", ".join([*own, *SETTINGS])
            raise ConfigError(f"{path}: unknown setting {unknown[0]!r}; legal: {known}")
        settings["listen_host"] = legal_host(
            os.environ.get("DIRECTOR_HOST") or settings.get("listen_host", cls.listen_host),
            "listen_host (or DIRECTOR_HOST) is ",
        )
        settings["listen_port"] = legal_port(
            os.environ.get("DIRECTOR_PORT") or settings.get("listen_port", cls.listen_port)
        )
        settings["aggregator_port"] = _aggregator_ports(settings, path)
        for shape in ("sample_shape", "target_shape"):
            if shape in settings and not isinstance(settings[shape], list):
                raise ConfigError(
                    f"{path}: {shape} is {settings[shape]!r}; a list such as ['16000'] is legal"
                )
            if shape in settings:
                settings[shape] = tuple(map(str, settings[shape]))
        settings["envoys"] = _envoys(settings.get("envoys"), path)
        period = settings.get("envoy_health_check_period", cls.envoy_health_check_period)
        if type(period) is not int or not 1 <= period <= 3600:
            raise ConfigError(f"{path}: envoy_health_check_period is {period!r}; legal: 1 to 3600 seconds")
        return cls(**settings, gate=gate)


def _envoys(names: object, path: Path) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{path}: envoys is {names!r}; a list of names such as [env_one, env_two] is legal")
    return tuple(names)


def _aggregator_ports(settings: Mapping[str, object], path: Path) -> tuple[int, ...]:
    """Return the ports that `aggregator_port` names, one or a range; none if it is null."""
    value = settings.get("aggregator_port")
    if value is None:
        return ()
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", str(value), re.ASCII)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not MIN_PORT <= first <= last <= MAX_PORT or last - first >= MAX_AT_ONCE:
        raise ConfigError(
            f"{path}: aggregator_port is {value!r}; legal: null, a port from {MIN_PORT} to {MAX_PORT}, or a "
            f"range of up to {MAX_AT_ONCE}, such as 50051-50053"
        )
    ports = tuple(range(first, last + 1))
    if settings["listen_port"] in ports:
        raise ConfigError(
            f"{path}: aggregator_port is {value!r}; legal: others than {settings['listen_port']}, where the "
            "director itself listens"
        )
    return ports
