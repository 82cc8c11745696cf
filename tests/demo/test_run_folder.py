from __future__ import annotations

from pathlib import Path

import pytest

from demo.errors import DemoError
from demo.run_folder import RunFolder


def fill(folder: RunFolder) -> None:
    for name in ("logs", "nodes/env_one", "model", "tensorboard"):
        (folder.path / name).mkdir(parents=True)
    for name in ("logs/director.log", "nodes/env_one/x.py", "model/w", "notebook.ipynb", "summary.json"):
        (folder.path / name).write_text(name)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_nothing_has_the_final_name_before_it_is_published(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs")
    fill(folder)
    assert names(tmp_path / "runs") == {f".partial-{folder.run_id}"}
    assert folder.publish() == folder.final
    assert names(tmp_path / "runs") == {folder.run_id, "latest"}
    assert names(folder.final) == {"logs", "model", "notebook.ipynb", "summary.json", "tensorboard"}


def test_latest_points_to_the_last_published_run(tmp_path: Path) -> None:
    first = RunFolder(tmp_path)
    second = RunFolder(tmp_path)
    assert first.run_id != second.run_id
    second.publish()
    first.publish()
    latest = tmp_path / "latest"
    assert latest.is_symlink()
    assert latest.resolve() == first.final.resolve()
    assert not Path(latest.readlink()).is_absolute()


def test_a_failure_keeps_logs_and_notebook(tmp_path: Path) -> None:
    published = RunFolder(tmp_path)
    published.publish()
    folder = RunFolder(tmp_path)
    fill(folder)
    failed = folder.keep_failure()
    assert failed == tmp_path / f"failed-{folder.run_id}"
    assert names(failed) == {"logs", "notebook.ipynb", "tensorboard"}
    assert (failed / "logs" / "director.log").is_file()
    assert (tmp_path / "latest").resolve() == published.final.resolve()


def test_nothing_is_left_of_a_discarded_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    fill(folder)
    folder.discard()
    assert names(tmp_path) == set()


def test_ids_stay_unique_after_publishing_and_failing(tmp_path: Path) -> None:
    published, failed = RunFolder(tmp_path), RunFolder(tmp_path)
    published.publish()
    failed.keep_failure()
    assert RunFolder(tmp_path).run_id not in {published.run_id, failed.run_id}


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_stands_in_the_way_of_latest(tmp_path: Path, kind: str) -> None:
    """A folder is left alone; a file or a link gives way, as an older `latest` does."""
    latest = tmp_path / "latest"
    if kind == "folder":
        latest.mkdir()
        (latest / "thesis.txt").write_text("years of work")
    elif kind == "file":
        latest.write_text("text")
    else:
        latest.symlink_to("nowhere")
    folder = RunFolder(tmp_path)
    fill(folder)
    assert names(folder.publish()) == {"logs", "model", "notebook.ipynb", "summary.json", "tensorboard"}
    assert folder.is_latest == (kind != "folder")
    assert names(tmp_path) == {folder.run_id, "latest"}
    if kind == "folder":
        assert (latest / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("kind", ["file", "broken link"])
def test_runs_that_is_no_folder_is_said_so(tmp_path: Path, kind: str) -> None:
    runs = tmp_path / "runs"
    if kind == "file":
        runs.write_text("text")
    else:
        runs.symlink_to("nowhere")
    with pytest.raises(DemoError, match=r"runs is not a folder; move it away"):
        RunFolder(runs)


def test_an_id_that_a_file_or_a_broken_link_has_is_taken(tmp_path: Path) -> None:
    taken = RunFolder(tmp_path)
    taken.discard()
    (tmp_path / taken.run_id).symlink_to("nowhere")
    again = RunFolder(tmp_path)
    assert again.run_id != taken.run_id
    assert again.publish().is_dir()
