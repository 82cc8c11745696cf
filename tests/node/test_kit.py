"""The archive of `make envoy-kit`, unpacked in an empty place: an envoy starts from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

from superb_ks.experiment import own_package
from superb_node.work_folder import OF_ONE_NODE
from tests.support.lab import wait_until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed; returns what it prints."""
    result = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked archive of a checkout, whose environment counts as up to date."""
    checkout, place = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("empty place")
    for folder in ("envoy", "node"):
        shutil.copytree(
            ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("work", "build", "*.egg-info")
        )
    for name in {*OF_ONE_NODE} - {"experiments"}:  # which is a director's
        (checkout / "envoy" / name).mkdir(exist_ok=True)
        (checkout / "envoy" / name / ".env_one.lock").touch()
    for file in ("Makefile", "constraints.txt"):
        shutil.copy(ROOT / file, checkout)
    (checkout / ".venv").mkdir()
    for stamp in (".made", ".installed"):
        (checkout / ".venv" / stamp).touch()
    (checkout / "requirements.txt").touch()
    os.utime(checkout / "requirements.txt", (0, 0))
    made = run(
        "make", "-s", "envoy-kit", "-o", ".venv/.installed", f"VENV_PYTHON={sys.executable}", cwd=checkout
    )
    assert made == "build/envoy-kit.tar.gz\n"
    with tarfile.open(checkout / "build" / "envoy-kit.tar.gz") as archive:
        archive.extractall(place, filter="data")
    return place / "envoy"


@pytest.fixture(scope="module")
def python(kit: Path) -> Path:
    """A Python with the kit's wheel; what the wheel needs of others' it finds in this environment."""
    venv.create(kit / ".venv", with_pip=True)
    python = kit / ".venv" / "bin" / "python"
    (wheel,) = kit.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=kit)
    (site_packages,) = (kit / ".venv").glob("lib/python3*/site-packages")
    # The packages next to which this test's own pytest lies, whatever environment that is.
    others = {sysconfig.get_paths()["purelib"], str(Path(pytest.__file__).parents[1])}
    (site_packages / "others.pth").write_text("\n".join(sorted(others)))
    return python


def test_the_kit_has_what_an_envoy_needs_and_no_more(kit: Path) -> None:
    there = {path.name for path in kit.iterdir()} - {".venv"}
    here = {path.name for path in (ROOT / "envoy").iterdir()} - {*OF_ONE_NODE, "__pycache__"}
    (wheel,) = kit.glob("*.whl")
    assert there == here | {"constraints.txt", wheel.name}
    assert wheel.name == "superb_node-0.1.0-py3-none-any.whl"
    lines = (kit / "sd_requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        f"./{wheel.name}[envoy]",
        "-c constraints.txt",
    ]
    assert not list(kit.rglob("__pycache__"))


def test_its_requirements_are_those_of_an_envoy(kit: Path, python: Path) -> None:
    """As pip reads them; without an index it stops at the first that the wheel asks for."""
    options = ["--dry-run", "--no-index", "--ignore-installed", "-r", "sd_requirements.txt"]
    result = subprocess.run(
        [python, "-m", "pip", "install", *options], cwd=kit, capture_output=True, text=True, check=False
    )
    assert "superb-node[envoy] 0.1.0 depends on grpcio>=1.56.2" in result.stdout + result.stderr
    assert "(constraint) grpcio==" in result.stdout + result.stderr


def test_what_experiments_need_is_in_the_wheel_and_the_notebooks_package_is_not(
    kit: Path, python: Path
) -> None:
    find = "from importlib.util import find_spec; print(find_spec('superb_notebook'))"
    assert run(python, "-c", find, cwd=kit) == "None\n"
    source = "import superb_ks.experiment as own; print(own.__file__, own.own_package(), sep='\\n')"
    where, package = run(python, "-c", source, cwd=kit).splitlines()
    assert Path(where).is_relative_to(kit / ".venv")
    assert package == str(own_package()), "sources and tiny model are those of the checkout"


def test_an_envoy_starts_from_it(kit: Path, python: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "support" / "sine_descriptor.py", kit)
    (kit / "sine.yaml").write_text("shard_descriptor: {template: sine_descriptor.SineShardDescriptor}\n")
    log = tmp_path / "log"
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "VIRTUAL_ENV": str(kit / ".venv")}
    with log.open("w") as output:
        envoy = subprocess.Popen(
            ["bash", "start_envoy.sh", "clinic", "sine.yaml"],
            cwd=kit, env={**variables, "DIRECTOR_PORT": "9"*4}, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            wait_until(lambda: "No director at localhost:9999 yet" in log.read_text(), 240)
        finally:
            envoy.terminate()
            envoy.wait()
    assert "Envoy stopped" in log.read_text()
    assert not (kit / "work" / "clinic").exists()
