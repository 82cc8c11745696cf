"""The kept index: used while it is good, never when the folders changed, never trusted when damaged."""

import os
from pathlib import Path
from typing import Any

import pytest

import speech_commands.reader.index as index
from speech_commands.reader.index import cache_file, index_tree
from superb_node.errors import DataError

Folders = tuple[Path, Path]


@pytest.fixture
def settled(archives: Folders) -> Path:
    """A training archive whose folders changed long ago."""
    age(archives[0])
    return archives[0]


def age(root: Path) -> None:
    for folder in (root, *(path for path in root.iterdir() if path.is_dir())):
        os.utime(folder, (1_000_000, 1_000_000))


def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record every time that an index is built."""
    built: list[Path] = []
    real = index.build

    def building(root: Path, folders: Any) -> Any:
        built.append(root)
        return real(root, folders)

    monkeypatch.setattr(index, "build", building)
    return built


def test_second_opening_reads_no_header(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = builds(monkeypatch)
    first, second = index_tree(settled), index_tree(settled)
    assert built == [settled]
    assert first.keys.tolist() == second.keys.tolist()
    assert first.frames.tolist() == second.frames.tolist()
    assert first.rates.tolist() == second.rates.tolist()


def test_a_new_clip_is_seen(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(index_tree(settled).keys)
    os.link(settled / "yes" / "00000001_nohash_0.wav", settled / "yes" / "0000000a_nohash_0.wav")
    assert len(index_tree(settled).keys) == before + 1


def test_a_removed_clip_and_a_new_folder_are_seen(settled: Path) -> None:
    before = len(index_tree(settled).keys)
    (settled / "yes" / "00000001_nohash_0.wav").unlink()
    age(settled)
    os.utime(settled / "yes", (1_000_001, 1_000_001))
    assert len(index_tree(settled).keys) == before - 1
    (settled / "cat").mkdir()
    os.link(settled / "no" / "00000001_nohash_0.wav", settled / "cat" / "00000001_nohash_0.wav")
    assert len(index_tree(settled).keys) == before


def test_a_folder_that_has_just_changed_is_not_trusted(archives: Folders) -> None:
    index_tree(archives[0])
    assert not cache_file(archives[0]).exists()


@pytest.mark.parametrize("damage", [b"", b"junk", b"PK\x03\x04 half a zip"])
def test_a_damaged_index_is_built_again(settled: Path, damage: bytes) -> None:
    expected = index_tree(settled).keys.tolist()
    cache_file(settled).write_bytes(damage)
    assert index_tree(settled).keys.tolist() == expected
    assert cache_file(settled).stat().st_size > 1000


def test_problems_are_kept(settled: Path) -> None:
    (settled / "yes" / "00000001_nohash_0.wav").write_text("not sound")
    age(settled)
    problems = index_tree(settled).problems
    assert list(problems) == ["yes/00000001_nohash_0.wav"]
    assert index_tree(settled).problems == problems


def test_an_unwritable_cache_costs_nothing_but_time(settled: Path, own_cache: Path) -> None:
    (own_cache / "index").write_text("a file where the folder should be")
    assert len(index_tree(settled).keys) == 34


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        index_tree(tmp_path / "nowhere")
