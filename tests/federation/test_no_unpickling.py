"""Nothing that comes from outside is unpickled: product code has no pickles, and nodes do without them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.lab import ROOT, Lab

MODULES = ("pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib")
# Where OpenFL itself imports a serializer, it is a module that nobody of us imports.
OF_OPENFL = ("openfl.plugins.interface_serializer", "openfl.federated.plan", "openfl.federated.Plan")
FOLDERS = ("node", "envoy", "workspace", "demo", "certificates", "flower", "simulation", "pretraining")

# Python runs this at the start of every process of the federation.
SITECUSTOMIZE = """
import os, pickle, _pickle, sys

def refuse(*_, **__):
    raise RuntimeError("something was unpickled")

class Refusing(pickle.Unpickler):
    load = refuse

if "superb_node." in " ".join(sys.orig_argv):
    pickle.load = pickle.loads = _pickle.load = _pickle.loads = refuse
    pickle.Unpickler = _pickle.Unpickler = Refusing
    pickle._Unpickler.load = refuse
    open(os.path.join(os.environ["TRACES"], str(os.getpid())), "w").close()
"""


@pytest.mark.parametrize("folder", FOLDERS)
def test_product_code_imports_no_pickles(folder: str) -> None:
    paths = [path for path in (ROOT / folder).rglob("*.py") if "work" not in path.relative_to(ROOT).parts]
    assert paths
    found = [f"{path.relative_to(ROOT)} imports {name}" for path in paths for name in imported_by(path)]
    illegal = (*MODULES, *OF_OPENFL)
    assert [line for line in found if line.rpartition(" ")[2].startswith(illegal)] == []


def imported_by(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.federation
def test_an_experiment_runs_where_unpickling_raises(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    environment = {"PYTHONPATH": str(tmp_path), "TRACES": str(traces)}
    with Lab(tmp_path / "lab", envoys=2, environment=environment) as lab:
        watched = {process.pid for process in lab.processes.values()}
        outcome = lab.run(rounds=2)
        assert outcome.status == "finished", outcome.error
        assert outcome.rounds("train", lab.last) == [0, 1]
        assert watched <= {int(trace.name) for trace in traces.iterdir()}, "these processes were watched"
        for name in (*lab.envoy_names, "director"):
            assert "was unpickled" not in lab.log(name)
