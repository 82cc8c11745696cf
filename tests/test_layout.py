"""Which folders and files there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import scope_of

ROOT = Path(__file__).resolve().parents[1]
# OpenFL imports modules of these names from the working directory.
TAKEN_BY_OPENFL = {"model.py", "plan.py", "workspace.py", "__init__.py"}


@pytest.mark.parametrize("folder", ["envoy", "workspace"])
def test_no_module_hides_one_of_openfls(folder: str) -> None:
    assert not {path.name for path in (ROOT / folder).glob("*.py")} & TAKEN_BY_OPENFL


def test_the_director_and_the_start_scripts_have_no_python() -> None:
    """It is in the package of the nodes, so that it stands once."""
    assert not list((ROOT / "director").glob("*.py"))
    assert [path.name for path in (ROOT / "envoy").glob("*.py")] == ["superb_shard_descriptor.py"]


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text)
    assert "END OF TERMS AND CONDITIONS" in text


def test_files_that_share_a_federation_share_a_worker() -> None:
    """Files have a worker each otherwise, whatever else a fixture of theirs is called."""
    names = ("privacy", "services", "failures", "strategies", "tls", "approval")
    scopes = [scope_of(f"tests/federation/test_{name}.py") for name in names]
    own = [f"tests/federation/test_{name}.py" for name in names[4:]]
    assert scopes == ["lab", "lab", "trio", "trio", *own]
