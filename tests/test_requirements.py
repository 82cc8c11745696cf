"""The requirement files agree with each other and with what the code imports."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from superb_notebook.tracking.backends import BACKENDS

ROOT = Path(__file__).resolve().parents[1]
# What every node needs, and what its extra adds for envoys.
NODE = "node/pyproject.toml"
EXTRA = "requirements-extra.txt"
FILES = (
    *(NODE, f"{NODE}[envoy]", "requirements.txt"),
    *("requirements-flower.txt", EXTRA, "requirements-dev.txt"),
)
# OpenFL's metadata would hold gRPC, protobuf and Python back: see node/pyproject.toml.
OPENFL = "--no-deps --ignore-requires-python openfl==1.7.1"
# Bounds from above, each with its reason on the line.
BOUNDED = {"flwr", "torch", "transformers", "ruff"}
# Names to import that are not the names to install.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "grpc": "grpcio",
    "sklearn": "scikit-learn",
    "mlflow": "mlflow-skinny",
    "traitlets": "anywidget",
    "IPython": "ipykernel",
    "google": "protobuf",
}
# Packages of the project itself.
OWN = {"demo", "certificates", "superb_node", "superb_ks", "superb_notebook", "speech_commands"}
OWN |= {"superb_shard_descriptor"}


def lines(name: str) -> list[str]:
    """Requirements with their comments, of a file or of a list in the package's metadata."""
    file, _, extra = name.partition("[")
    text = (ROOT / file).read_text(encoding="utf-8")
    if file == NODE:
        key = extra.removesuffix("]") or "dependencies"
        block = re.search(rf"^{key} = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
        assert block, key
        return re.sub(r'^  "([^"]+)",', r"\1", block[1], flags=re.MULTILINE).replace("  #", "#").splitlines()
    return text.splitlines()


def requirement_lines(name: str) -> list[str]:
    return [line for line in lines(name) if line and not line.startswith(("#", "-r ", "-e "))]


def requirements(*names: str, here: dict[str, str] | None = None) -> dict[str, SpecifierSet]:
    """Return what files require: on the Python that `here` describes, or on any."""
    parsed = [Requirement(line.split("#")[0]) for name in names for line in requirement_lines(name)]
    wanted = [one for one in parsed if not (one.marker and here) or one.marker.evaluate(here)]
    return {canonical(one.name): one.specifier for one in wanted}


def installed(*names: str) -> set[str]:
    """Distributions that are there after the two commands of the package's metadata."""
    return {*requirements(*names), "openfl"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder: str) -> set[str]:
    """Distributions that a folder's modules import, the standard library and the project's own left out."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        if "work" in path.relative_to(ROOT).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.split(".")[0])
    siblings = {path.stem for path in (ROOT / folder).glob("*.py")}
    return {
        canonical(DISTRIBUTIONS.get(name, name))
        for name in names - set(sys.stdlib_module_names) - OWN - siblings
    }


@pytest.mark.parametrize("name", FILES)
def test_every_line_has_a_lower_bound_and_those_from_above_a_reason(name: str) -> None:
    assert requirement_lines(name)
    for line in requirement_lines(name):
        requirement, _, reason = line.partition("#")
        operators = {one.operator for one in Requirement(requirement).specifier}
        assert operators & {"==", ">="}, f"{name}: no lower bound: {line}"
        if operators & {"==", "<", "<=", "~="}:
            assert canonical(Requirement(requirement).name) in BOUNDED, f"{name}: held back: {line}"
            assert reason.strip(), f"{name}: no reason given: {line}"


def test_no_requirement_stands_twice() -> None:
    names = [
        canonical(Requirement(line.split("#")[0]).name) for name in FILES for line in requirement_lines(name)
    ]
    assert sorted(names) == sorted(set(names))


def test_everybody_installs_the_package_of_the_nodes() -> None:
    for name, line in (
        ("requirements.txt", "-e ./node[envoy]"),
        ("envoy/sd_requirements.txt", "-e ../node[envoy]"),
    ):
        (found,) = [each.partition("#")[0].strip() for each in lines(name) if each.startswith("-e ")]
        assert found == line
        assert (ROOT / Path(name).parent / line.split()[1].partition("[")[0] / "pyproject.toml").is_file()
    assert not requirement_lines("envoy/sd_requirements.txt")


def test_only_the_nodes_packages_are_installed() -> None:
    """The notebooks' package and the tools lie where they are used."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r"^\[(project|build-system)\b", settings, re.MULTILINE), "that is for tools only"
    assert not list((ROOT / "workspace").glob("*.toml")) + list((ROOT / "workspace").glob("setup.*"))


def test_openfl_is_installed_in_one_way_everywhere() -> None:
    for name in ("envoy/sd_requirements.txt", NODE, "Makefile", "deploy/Containerfile"):
        assert OPENFL in (ROOT / name).read_text(encoding="utf-8"), name
    assert "openfl" not in requirements(*FILES)


def test_what_openfl_imports_is_required() -> None:
    needed = [Requirement(one) for one in metadata("openfl").get_all("Requires-Dist")]
    # OpenFL imports requests only in parts that nobody here uses.
    assert {canonical(one.name) for one in needed} - {"requests"} <= set(requirements(*FILES))


def test_the_constraints_cover_what_is_required_on_every_python() -> None:
    pins = [Requirement(line) for line in requirement_lines("constraints.txt")]
    for version in ("3.10.13", "3.11.7", "3.12.1", "3.13.0", "3.14.0"):
        here = {"python_full_version": version, "python_version": version.rpartition(".")[0]}
        pinned = {canonical(pin.name): pin for pin in pins if not pin.marker or pin.marker.evaluate(here)}
        for name, bounds in requirements(*FILES, here=here).items():
            (pin,) = pinned[name].specifier
            assert pin.operator == "==" and pin.version in bounds, f"Python {version}: {name}"


@pytest.mark.parametrize("folder", ["node", "envoy", "workspace", "demo", "certificates"])
def test_what_is_imported_is_required(folder: str) -> None:
    optional = requirements(EXTRA) if folder == "workspace" else set()
    assert imported(folder) <= installed(NODE, f"{NODE}[envoy]", "requirements.txt") | set(optional)


def test_what_the_notebooks_may_import_can_be_installed() -> None:
    packages = {canonical(backend.package) for backend in BACKENDS.values()}
    assert packages <= {*requirements(EXTRA), *requirements(NODE)}


def test_what_an_envoy_imports_or_is_sent_is_in_its_share() -> None:
    """What an experiment brings runs on the envoys, too."""
    share = installed(NODE, f"{NODE}[envoy]")
    assert imported("envoy") | imported("node") <= share
    assert imported("node/superb_ks") <= share
