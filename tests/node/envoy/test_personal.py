"""The files of personal models: taken over as numbers, for the owner's eyes only, a few of them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from superb_ks.model.packing import pack
from superb_ks.model.spec import ModelSpec
from superb_node.envoy.models import PERSONAL, provide
from superb_node.envoy.personal import HANDED_OVER, KEPT, hand_over, keep, load, take_over
from tests.support.experiments import MODEL, changed_text, experiment_text

TEXT = experiment_text(personalise=True)
WEIGHTS = np.arange(5, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an experiment."""
    folder = tmp_path / "experiment"
    folder.mkdir()
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a model is to be kept."""
    return tmp_path / "personal" / "env_one" / "ks-1.npz"


def test_what_a_worker_hands_over_is_kept_for_the_owner_alone(folder: Path, file: Path) -> None:
    before = os.umask(0)
    try:
        hand_over(folder, WEIGHTS)
        take_over(folder, TEXT, WEIGHTS.size, file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["ks-1.npz"]
    experiment, weights = load(file)
    assert experiment.to_bytes() == TEXT
    assert weights.tolist() == WEIGHTS.tolist()


def test_the_newest_few_are_kept_and_one_of_the_same_experiment_gives_way(file: Path) -> None:
    for number in range(KEPT + 2):
        keep(file.with_name(f"ks-{number}.npz"), TEXT, WEIGHTS + number)
        os.utime(file.with_name(f"ks-{number}.npz"), (number, number))
    keep(file.with_name(f"ks-{KEPT + 1}.npz"), TEXT, WEIGHTS)
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == [f"ks-{number}.npz" for number in range(2, KEPT + 2)]
    assert load(file.with_name(f"ks-{KEPT + 1}.npz"))[1].tolist() == WEIGHTS.tolist()


def left_a_link(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(WEIGHTS.tobytes())
    (folder / HANDED_OVER).symlink_to(folder.parent / "secret")


def left_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / HANDED_OVER)


def left_a_folder(folder: Path) -> None:
    (folder / HANDED_OVER).mkdir()


def left_no_vector(folder: Path) -> None:
    (folder / HANDED_OVER).write_bytes(bytes(WEIGHTS.nbytes + 1))


def left_too_little(folder: Path) -> None:
    (folder / HANDED_OVER).write_bytes(bytes(WEIGHTS.nbytes - 4))


def left_too_much(folder: Path) -> None:
    (folder / HANDED_OVER).touch()
    os.truncate(folder / HANDED_OVER, 2**32)  # a hole takes no space


def left_nothing_in_it(folder: Path) -> None:
    (folder / HANDED_OVER).touch()


@pytest.mark.parametrize(
    "leave",
    [
        *(left_a_link, left_a_pipe, left_a_folder),
        *(left_no_vector, left_too_little, left_too_much, left_nothing_in_it),
    ],
)
def test_what_is_no_vector_of_the_models_size_is_not_kept_and_said(
    leave, folder: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(folder)
    take_over(folder, TEXT, WEIGHTS.size, file)
    assert "The personal model is not kept: " in caplog.text
    if leave in (left_no_vector, left_too_little, left_too_much):
        assert "what the experiment left is no vector of the model's 5 values" in caplog.text
    assert not file.parent.exists()


def test_where_nothing_can_be_written_the_envoy_goes_on(
    folder: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.parents[1].mkdir(parents=True)
    file.parent.touch()
    hand_over(folder, WEIGHTS)
    take_over(folder, TEXT, WEIGHTS.size, file)
    assert "The personal model is not kept: " in caplog.text


def test_an_experiment_that_does_not_personalise_leaves_nothing(
    folder: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:

    take_over(folder, TEXT, WEIGHTS.size, file)
    hand_over(folder, WEIGHTS)
    take_over(folder, experiment_text(), WEIGHTS.size, file)
    assert not file.parent.exists() and not caplog.records


# The owner's command -----------------------------------------------------------------------------------


def command(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "superb_node.envoy.personal", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_owner_takes_a_model_out(file: Path, tmp_path: Path) -> None:
    keep(file, changed_text(), pack(ModelSpec.from_dict(MODEL).build()))
    done = command(file, tmp_path / "mine")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'mine'}\n"), done.stderr
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json", PERSONAL)
    }
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o700
    assert provide(str(tmp_path / "mine")) is None, "no experiment may open it"
    (tmp_path / "mine" / PERSONAL).unlink()
    assert provide(str(tmp_path / "mine")) == tmp_path / "mine"
    again = command(file, tmp_path / "mine")
    assert (again.returncode, again.stderr) == (2, f"personal: {tmp_path / 'mine'} is there already\n")


@pytest.mark.parametrize("content", [b"no zip", b""])
def test_another_file_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.npz is no personal model: "):
        load(tmp_path / "other.npz")
