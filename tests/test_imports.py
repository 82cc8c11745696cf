"""Who may import whom: the contract of imports, one rule a line. `docs/design.md` says why."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_flower = pytest.mark.skipif(find_spec("flwr") is None, reason="Flower needs Python 3.11 or later")
ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "certificates": ROOT / "certificates",
    "demo": ROOT / "demo",
    "simulation": ROOT / "simulation",
    "pretraining": ROOT / "pretraining",
    "benchmarks": ROOT / "benchmarks",
    "tests": ROOT / "tests",
    "superb_node": ROOT / "node" / "superb_node",
    "superb_ks": ROOT / "node" / "superb_ks",
    "superb_notebook": ROOT / "workspace" / "superb_notebook",
    "superb_flower": ROOT / "flower" / "superb_flower",
    "speech_commands": ROOT / "envoy" / "speech_commands",
    "superb_shard_descriptor": ROOT / "envoy" / "superb_shard_descriptor.py",
}
SETTINGS = tuple(
    f"superb_ks.{name}"
    for name in (
        *("addresses", "checked", "recipe", "settings"),
        *("stopping_settings", "strategy_settings", "tuning_settings"),
    )
)
NODE_COMMON = tuple(f"superb_node.{path.stem}" for path in PACKAGES["superb_node"].glob("[a-z]*.py"))
# What is read of an experiment wherever it arrives.
TEXTS = (*SETTINGS, "superb_ks.experiment", "superb_ks.__version__")
BASICS = (*SETTINGS, *(f"superb_ks.{name}" for name in ("metrics", "run_files", "schedule", "types")))
# Of the project's own modules, each part may import itself and these; benchmarks and pretraining import all.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(BASICS, BASICS),
    **dict.fromkeys(SETTINGS, SETTINGS),
    "superb_ks.experiment": TEXTS,
    "superb_ks.model": BASICS,
    "superb_ks.training": (*BASICS, "superb_ks.model"),
    "superb_ks.transport": BASICS,
    "superb_ks.collaborator": (
        *(*BASICS, *TEXTS),
        *("superb_ks.model", "superb_ks.training", "superb_ks.transport"),
    ),
    "superb_ks.aggregator": (*BASICS, "superb_ks.transport"),
    "superb_notebook": ("superb_ks", "superb_node"),
    **dict.fromkeys(NODE_COMMON, (*NODE_COMMON, *SETTINGS)),
    "superb_node.approval": (*NODE_COMMON, *TEXTS),
    "superb_node.director": (
        *(*NODE_COMMON, *TEXTS),
        *("superb_node.approval", "superb_ks.aggregator", "superb_ks.transport.parts"),
    ),
    "superb_node.envoy": (
        *(*NODE_COMMON, *TEXTS),
        *("superb_node.approval", "superb_ks.collaborator", "superb_ks.types"),
    ),
    "superb_node.flower": (
        *NODE_COMMON,
        *("superb_node.approval.settings", "superb_node.director.listening"),
        *("superb_node.envoy.config", "superb_node.envoy.dialling"),
    ),
    "superb_flower": ("superb_ks", "superb_node.envoy", *NODE_COMMON),
    "speech_commands": ("superb_node",),
    "superb_shard_descriptor": ("speech_commands", "superb_node"),
    "certificates": ("superb_node",),
    "demo": ("superb_node", *SETTINGS, "superb_notebook.tracking.backends"),
    "simulation": ("demo", "superb_ks", "superb_node", "superb_notebook"),
    "tests": tuple(name for name in PACKAGES if name != "benchmarks"),
}
# Libraries that a part must do without.
WITHOUT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(BASICS, ("grpc", "openfl", "torch", "transformers")),
    **dict.fromkeys(
        (*SETTINGS, "superb_ks.experiment"), ("grpc", "numpy", "openfl", "torch", "transformers")
    ),
    "superb_ks": ("IPython", "matplotlib"),
    "superb_ks.model": ("grpc", "openfl"),
    "superb_ks.training": ("grpc", "openfl"),
    "superb_ks.transport": ("torch", "transformers"),
    "superb_ks.aggregator": ("torch", "transformers"),
    "superb_node": ("flwr", "matplotlib", "transformers"),
    "superb_flower": ("IPython", "matplotlib", "openfl"),
    # The envoy's part counts PyTorch's devices and sets its threads; a director is installed without PyTorch.
    **dict.fromkeys((*NODE_COMMON, "superb_node.approval", "superb_node.director"), ("torch",)),
}


def imports(path: Path) -> set[str]:
    """Return what a module imports, functions' own imports included: `a.b` for `from a import b` as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_of(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def modules(part: str) -> list[Path]:
    package, _, inner = part.partition(".")
    path = PACKAGES[package].joinpath(*filter(None, inner.split(".")))
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_what_the_contract_lets_it(part: str) -> None:
    legal = (part, *MAY_IMPORT[part])
    # tests/benchmarks are the benchmarks' own tests.
    paths = [path for path in modules(part) if path.parent != ROOT / "tests" / "benchmarks"]
    found = {path: {name for name in imports(path) if is_of(name, tuple(PACKAGES))} for path in paths}
    assert found
    illegal = [f"{path.relative_to(ROOT)} imports {name}" for path in found for name in sorted(found[path])]
    assert [line for line in illegal if not is_of(line.rpartition(" ")[2], legal)] == []


@pytest.mark.parametrize("part", WITHOUT)
def test_a_part_does_without_the_libraries_of_others(part: str) -> None:
    lines = [f"{path.relative_to(ROOT)} imports {name}" for path in modules(part) for name in imports(path)]
    assert lines or part in ("superb_ks.types", *NODE_COMMON)
    assert [line for line in lines if is_of(line.rpartition(" ")[2], WITHOUT[part])] == []


@pytest.mark.parametrize("package", ["superb_ks", "superb_node"])
def test_every_module_of_the_nodes_has_a_rule(package: str) -> None:
    rules = tuple(MAY_IMPORT)
    names = [
        ".".join(path.relative_to(PACKAGES[package].parent).with_suffix("").parts)
        for path in modules(package)
    ]
    assert [name for name in names if not is_of(name, rules) and name != f"{package}.__init__"] == []


# Libraries may take one another where they find them: a test takes some away.
WITHOUT_THEM = """
import sys
from importlib import import_module
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in sys.argv[2].split() else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
import_module(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("module", "libraries"),
    [
        ("superb_ks.aggregator.aggregator", "torch transformers"),  # the director's
        ("superb_shard_descriptor", "openfl"),  # of SuperNodes and simulations
        ("superb_node.flower.supernode", "openfl"),
        ("superb_node.flower.superlink", "openfl"),
        pytest.param("superb_flower.server_app", "openfl", marks=needs_flower),
        pytest.param("superb_flower.client_app", "openfl", marks=needs_flower),
        ("simulation.__main__", "openfl"),
        ("simulation.results", "openfl"),
    ],
)
def test_what_runs_without_a_library(module: str, libraries: str) -> None:
    paths = os.pathsep.join(str(ROOT / name) for name in ("", "envoy", "flower", "workspace"))
    subprocess.run(
        [sys.executable, "-c", WITHOUT_THEM, module, libraries],
        check=True, cwd=ROOT / "node", env={**os.environ, "PYTHONPATH": paths}, timeout=120,
    )  # fmt: skip
