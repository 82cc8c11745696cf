"""What an experiment ships to every node, and what it refuses to ship."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import superb_ks
from superb_ks.model.architecture import CHECKPOINT
from superb_ks.model.spec import ModelSpec
from superb_notebook.archive import MAX_ARCHIVE_BYTES, pack_workspace
from superb_notebook.connect import FederationError

PACKAGE = Path(superb_ks.__file__).parent
CHECKPOINT_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")


def staging(folder: Path, **pickles: bytes) -> Path:
    """Return the folder with what OpenFL writes before it packs."""
    (folder / "plan").mkdir()
    (folder / "plan" / "plan.yaml").write_text("rounds: 1")
    for name, content in pickles.items():
        (folder / f"{name}.pkl").write_bytes(content)
    return folder


def names_in(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as content:
        return {name for name in content.namelist() if not name.endswith("/")}


def test_only_sources_are_shipped(tmp_path: Path):
    (tmp_path / "notes.txt").touch()
    names = names_in(pack_workspace(staging(tmp_path, task=b"x")))
    sources = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py")}
    assert "superb_ks/model/spec.py" in sources
    assert names == sources | {"plan/plan.yaml", "task.pkl"}


def test_the_pretrained_tiny_model_is_shipped_where_it_is_used(tmp_path: Path):
    names = names_in(pack_workspace(staging(tmp_path), with_checkpoint=True))
    shipped = {name for name in names if name.startswith("superb_ks/tiny/")}
    assert {f"superb_ks/tiny/{name}" for name in CHECKPOINT_FILES} <= shipped
    assert shipped == {f"superb_ks/tiny/{path.name}" for path in CHECKPOINT.iterdir()}
    for name, ships in (("tiny", True), ("scratch", False), ("facebook/wav2vec2-base", False)):
        assert ModelSpec(name, ("yes", "no")).travels is ships


def test_an_archive_that_caught_a_large_object_is_refused(tmp_path: Path):
    noise = np.random.default_rng(0).bytes(MAX_ARCHIVE_BYTES)
    with pytest.raises(
        FederationError, match=f"{MAX_ARCHIVE_BYTES} are allowed; does a task refer to a large"
    ):
        pack_workspace(staging(tmp_path, task=noise))


@pytest.mark.parametrize(
    ("changed", "same"), [("superb_notebook/plots.py", True), ("superb_ks/training/local.py", False)]
)
def test_owners_approve_the_shipped_package_and_nothing_of_the_notebooks(
    changed: str, same: bool, tmp_path: Path
):
    workspace = tmp_path / "workspace"
    for package in ("superb_ks", "superb_notebook"):
        ignored = shutil.ignore_patterns("__pycache__", "tiny")
        shutil.copytree(PACKAGE.parent / package, workspace / package, ignore=ignored)
    code = (
        "from pathlib import Path; from superb_notebook.archive import digest, pack_workspace; "
        "print(digest(pack_workspace(Path('staging'))))"
    )
    digests = []
    for _ in range(2):
        (staged := workspace / "staging").mkdir()
        staging(staged)
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=True)
        digests.append(found.stdout)
        shutil.rmtree(staged)
        with (workspace / changed).open("a", encoding="utf-8") as file:
            file.write("# another colour\n")
    assert (digests[0] == digests[1]) is same
