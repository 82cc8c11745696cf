"""Folders of experiments go, whatever an experiment made of them."""

import os
import subprocess
import sys
from pathlib import Path

from superb_node.work_folder import remove_tree

DEEP = """
import os, sys
os.chdir(sys.argv[1])
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
"""


def test_a_tree_too_deep_for_python_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", DEEP, folder], check=True)
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_rights_is_removed_and_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "work"
    (other / "kept").mkdir(parents=True)
    (folder / "closed" / "inner").mkdir(parents=True)
    (folder / "closed" / "link").symlink_to(other)
    os.chmod(folder / "closed", 0)
    remove_tree(folder)
    remove_tree(folder)  # is gone
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert (other / "kept").is_dir()
