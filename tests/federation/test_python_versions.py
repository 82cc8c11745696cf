"""Nodes of different Pythons in one federation: what travels is text, and no version matters.

Where environments of other Pythons stand next to .venv, as .ci/run makes them, real processes are tried.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.lab import ROOT, Lab

pytestmark = pytest.mark.federation

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def other_pythons() -> dict[str, Path]:
    """Return a command for each other version of which there is an environment."""
    candidates = [*ROOT.glob(".venv-*/bin/python"), ROOT / ".venv/bin/python"]
    found = {version_of(each): each for each in candidates if each.exists()}
    return {version: python for version, python in found.items() if version and version != HERE}


def version_of(python: Path) -> str:
    code = "import superb_ks, sys; print('{0}.{1}'.format(*sys.version_info))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()


class MixedLab(Lab):
    """A `Lab` whose envoys run other Pythons than the director and this process."""

    def __init__(self, folder: Path, pythons: list[Path]) -> None:
        super().__init__(folder, envoys=2)
        self.pythons = {name: pythons[number % len(pythons)] for number, name in enumerate(self.envoy_names)}

    def _envoy_command(self, name: str) -> list[str]:
        return ["env", f"PYTHON={self.pythons[name]}", *super()._envoy_command(name)]


@pytest.fixture(scope="module")
def outcome_of_one_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[np.ndarray]:
    with Lab(tmp_path_factory.mktemp("one_python"), envoys=2) as lab:
        weights = lab.run(rounds=2).weights
        assert weights is not None
        yield weights


@pytest.mark.skipif(
    not other_pythons(),
    reason="no environment of another Python next to .venv (.ci/run makes two: make install VENV=.venv-3.13)",
)
def test_envoys_of_other_pythons_take_part(
    tmp_path_factory: pytest.TempPathFactory, outcome_of_one_python: np.ndarray
) -> None:
    with MixedLab(tmp_path_factory.mktemp("mixed"), list(other_pythons().values())) as lab:
        for name, python in lab.pythons.items():
            running = Path(f"/proc/{lab.processes[name].pid}/exe").resolve()
            assert running == python.resolve(), "it was started with the other Python"
        outcome = lab.run(rounds=2)
    assert outcome.status == "finished", outcome.error
    for name in lab.envoy_names:
        assert outcome.rounds("train", name) == [0, 1]
    # Another PyTorch or NumPy may round a sum in another way.
    assert np.allclose(outcome.weights, outcome_of_one_python, atol=1e-4)
