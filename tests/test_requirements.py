"""The requirement files agree with each other and with what the code imports."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"^(?P<requirement>[^#\s]+)\s+# (?P<reason>\S.*)$")
# Names to import that are not the names to install.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "grpc": "grpcio",
    "sklearn": "scikit-learn",
    "IPython": "ipykernel",
    "google": "protobuf",
}
# Below workspace/ and envoy/ these are packages of the project itself.
OWN = {"demo", "certificates", "superb_ks", "speech_commands", "superb_shard_descriptor"}


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith(("#", "-r "))]


def requirements(name: str) -> dict[str, SpecifierSet]:
    parsed = [Requirement(line.split("#")[0]) for line in lines(name)]
    return {canonical(one.name): one.specifier for one in parsed}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(room: str) -> set[str]:
    """Distributions that a folder's modules import, the standard library and the project's own left out."""
    names = set()
    for path in (ROOT / room).rglob("*.py"):
        if "work" in path.relative_to(ROOT).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.split(".")[0])
    beside = {path.stem for path in (ROOT / room).glob("*.py")}
    return {
        canonical(DISTRIBUTIONS.get(name, name))
        for name in names - set(sys.stdlib_module_names) - OWN - beside
    }


@pytest.mark.parametrize("name", ["requirements.txt", "envoy/sd_requirements.txt", "requirements-dev.txt"])
def test_every_line_has_bounds_and_a_reason(name: str) -> None:
    assert lines(name)
    for line in lines(name):
        assert LINE.match(line), f"{name}: no reason given: {line}"
        operators = {one.operator for one in Requirement(line.split("#")[0]).specifier}
        assert "==" in operators or {">=", "<"} <= operators, f"{name}: not bounded on both sides: {line}"


def test_the_envoys_share_is_part_of_the_whole() -> None:
    assert set(lines("envoy/sd_requirements.txt")) < set(lines("requirements.txt"))


def test_the_fixed_versions_are_those_of_the_tutorial() -> None:
    pinned = requirements("requirements.txt")
    assert pinned["openfl"] == SpecifierSet("==1.7.1")
    assert pinned["torch"] == SpecifierSet("==2.13.*")
    assert "2.4.0" not in pinned["numpy"]
    assert "2.3.5" in pinned["numpy"]
    assert "5.0" in pinned["transformers"]
    assert "6.0" not in pinned["transformers"]


@pytest.mark.parametrize("room", ["director", "envoy", "workspace", "demo", "certificates"])
def test_what_is_imported_is_required(room: str) -> None:
    assert imported(room) <= set(requirements("requirements.txt"))


def test_what_an_envoy_imports_or_is_sent_is_in_its_share() -> None:
    """The package of the workspace runs on the envoys, too."""
    plots = {"matplotlib", "ipykernel", "scikit-learn"}  # imported by functions that only the notebook calls
    share = set(requirements("envoy/sd_requirements.txt"))
    assert imported("envoy") <= share
    assert imported("workspace/superb_ks") - plots <= share


def test_development_tools_are_kept_apart() -> None:
    assert not set(requirements("requirements-dev.txt")) & set(requirements("requirements.txt"))
