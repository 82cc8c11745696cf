"""What `deploy/` names is there; the units pass systemd's check, the container file is followed by hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from certificates.federation import make_certificates
from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from superb_node.envoy import __main__ as envoy_service
from superb_node.envoy.refusals import ShardRefused
from superb_node.work_folder import OF_ONE_NODE
from tests.support.lab import sine_root, wait_until
from tests.test_requirements import NODE, imported, installed

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNITS = ("superb-director.service", "superb-envoy@.service")
# What the guide has made by hand, and what the folder that is installed need not hold.
MADE = (".venv/bin/python", *OF_ONE_NODE)
HARDENED = ("NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "CapabilityBoundingSet=")


@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_to_say_about_a_unit(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing (package systemd)")
    shutil.copy(DEPLOY / name, tmp_path)
    result = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_names_what_there_is_and_runs_as_nobody_special(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    lines = text.splitlines()
    paths = [Path(path) for path in re.findall(r"/opt/superb/([\w./]+)", text)]
    assert paths
    missing = [path for path in paths if not (ROOT / path).exists() and not str(path).endswith(MADE)]
    assert not missing
    assert all(line in lines for line in HARDENED)
    (user,) = [line.removeprefix("User=") for line in lines if line.startswith("User=")]
    assert user not in ("", "root")


def test_an_envoy_that_was_refused_is_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unlike one whose configuration is wrong: a name that is taken becomes free, a list gets longer."""
    lines = (DEPLOY / "superb-envoy@.service").read_text(encoding="utf-8").splitlines()
    assert "Restart=on-failure" in lines
    (never,) = [line.partition("=")[2].split() for line in lines if line.startswith("RestartPrevent")]
    monkeypatch.setattr(sys, "argv", ["envoy"])
    monkeypatch.setattr(envoy_service, "stop_on_signals", lambda: None)
    for error, again in ((ShardRefused("the name is taken"), True), (ValueError("no such data"), False)):

        def fail(_: object, error: ValueError = error) -> None:
            raise error

        monkeypatch.setattr(envoy_service, "run", fail)
        code = envoy_service.main()
        assert code != 0 and (str(code) not in never) == again
        assert capsys.readouterr().err == f"envoy: {error}\n"


def test_each_image_installs_all_that_it_imports() -> None:
    """A director needs no PyTorch, which makes its image a tenth of an envoy's."""
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert "pip install ./node \\\n" in text
    assert "pip install './node[envoy]'\n" in text
    assert imported("node/superb_node/director") <= installed(NODE)
    assert imported("envoy") <= installed(NODE, f"{NODE}[envoy]")


class Image:
    """What the container file makes of a target, in a folder: it is followed line by line, without a build.

    Users, owners and the installation of packages are left out; the running environment stands in for those.
    """

    def __init__(self, target: str, root: Path) -> None:
        self.target, self.root, self.cwd = target, root, root
        self.environment: dict[str, str] = {}
        self.command: list[str] = []
        stages = self._stages()
        for instruction, argument in [*stages["node"], *stages[target]]:
            getattr(self, f"_{instruction.lower()}", lambda _: None)(argument)

    def start(self, *arguments: str, **variables: str) -> ServiceProcess:
        environment = {"PATH": os.environ["PATH"], **self.environment, **variables}
        log = self.root / "log"
        command = [*self.command, *arguments]
        return ServiceProcess("container", command, self.cwd, environment, log)

    def inside(self, path: str) -> Path:
        """Return where a path of the container is."""
        return self.root / path.lstrip("/") if path.startswith("/") else self.cwd / path

    @staticmethod
    def _stages() -> dict[str, list[tuple[str, str]]]:
        stages: dict[str, list[tuple[str, str]]] = {}
        text = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            instruction, argument = line.split(maxsplit=1)
            if instruction == "FROM":
                stage = stages.setdefault(argument.split(" AS ")[1], [])
            else:
                stage.append((instruction, argument))
        return stages

    def _workdir(self, path: str) -> None:
        self.cwd = self.inside(path)
        self.cwd.mkdir(parents=True, exist_ok=True)

    def _env(self, pairs: str) -> None:
        for key, value in re.findall(r"(\w+)=(\S+)", pairs):
            self.environment[key] = str(self.inside(value)) if value.startswith("/") else value

    def _copy(self, argument: str) -> None:
        *options, source, destination = argument.split()
        if options:
            assert options == [f"--from={self.target}-requirements"]
            self.inside(destination).symlink_to(sys.prefix)
        else:
            shutil.copytree(ROOT / source, self.inside(destination), ignore=_ignored)

    def _run(self, commands: str) -> None:
        for program, *arguments in (command.split() for command in commands.split("&&")):
            assert program in ("mkdir", "chown", "useradd")
            if program == "mkdir":
                assert arguments.pop(0) == "--parents"
                for folder in arguments:
                    self.inside(folder).mkdir(parents=True, exist_ok=True)

    def _entrypoint(self, argument: str) -> None:
        self.command = json.loads(argument)


def _ignored(folder: str, names: list[str]) -> set[str]:
    """Do what the ignore file says of the contents of a folder that it lets through."""
    patterns = (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert patterns[1:5] == ["*", "!director", "!envoy", "!node"]
    inside = {name: str(Path(folder, name).relative_to(ROOT)) for name in names}
    anywhere = [pattern.removeprefix("**/") for pattern in patterns[5:] if pattern.startswith("**/")]
    return {
        name
        for name, path in inside.items()
        if path in patterns or any(fnmatch(name, pattern) for pattern in anywhere)
    }


@pytest.fixture
def images(tmp_path: Path) -> list[Image]:
    images = [Image(target, tmp_path / target) for target in ("director", "envoy")]
    make_certificates(tmp_path / "certs", envoys=["env_one"])
    for image, name in zip(images, ("director", "env_one"), strict=True):
        shutil.copytree(tmp_path / "certs" / name, image.inside("/run/certificates"))
    envoy = sine_root(tmp_path / "originals") / "envoy"
    for file in ("envoy_config.yaml", "sine_descriptor.py"):  # mounted by the data's owner
        shutil.copy(envoy / file, images[1].inside("envoy"))
    return images


@pytest.mark.slow
@pytest.mark.federation
def test_director_and_envoy_of_the_container_file_find_each_other(images: list[Image]) -> None:
    director, envoy = images
    assert not list(director.inside("/").rglob("__pycache__"))
    assert not director.inside("envoy").exists()
    port = str(free_ports(1)[0])
    services = []
    try:
        services.append(director.start("localhost", DIRECTOR_PORT=port))
        services.append(envoy.start("env_one", "localhost", DIRECTOR_PORT=port))
        wait_until(lambda: any("Shard env_one registered" in each.log_tail() for each in services), 250)
    finally:
        stop_all(services)
