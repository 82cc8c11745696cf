"""Builds small archives to read."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_commands.synthetic.script import Size
from superb_node.labels import KEYWORDS

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
ENVOY = ROOT / "envoy"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SUPERB_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def envoy_dir() -> Path:
    """The folder that the envoy runs in."""
    return ENVOY


@pytest.fixture(scope="session")
def small() -> Size:
    """Speakers and takes of a corpus that is made in a second."""
    return Size(train_speakers=4, val_speakers=2, test_speakers=2, train_takes=2, val_takes=1, test_takes=1)


@pytest.fixture(scope="session")
def shared_dirs() -> tuple[Path, Path]:
    """Folders of the real clips."""
    train, test = SHARED / "speech_commands_v0.01", SHARED / "speech_commands_test_set_v0.01"
    if not train.is_dir():
        pytest.skip(f"the sample of real clips is not at {SHARED.name}/ next to the repository")
    return train, test


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory, small: Size) -> Path:
    """A small synthetic corpus: the folder with both archives."""
    from speech_commands.synthetic.corpus import write_corpus

    folder = tmp_path_factory.mktemp("spoken")
    write_corpus(folder, seed=0, size=small)
    return folder


@pytest.fixture
def write_wav() -> Callable[..., Path]:
    """Write a clip of noise and return its path."""

    def write(path: Path, seconds: float = 1.0, rate: int = 16_000, channels: int = 1) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(zlib.crc32(str(path).encode()))
        shape = (round(seconds * rate), channels)
        soundfile.write(path, rng.uniform(-0.5, 0.5, shape), rate, subtype="PCM_16")
        return path

    return write


@pytest.fixture
def archives(tmp_path: Path, write_wav: Callable[..., Path]) -> tuple[Path, Path]:
    """A tiny training and test archive: three clips a word, one of them for validation."""
    train, test = tmp_path / "speech_commands_v0.01", tmp_path / "speech_commands_test_set_v0.01"
    validation = []
    for word in (*KEYWORDS, "bed"):
        for speaker in ("00000001", "00000002", "00000003"):
            write_wav(train / word / f"{speaker}_nohash_0.wav", seconds=0.1)
        validation.append(f"{word}/00000003_nohash_0.wav\n")
        folder = "_unknown_" if word == "bed" else word
        write_wav(test / folder / "00000004_nohash_0.wav", seconds=0.1)
    write_wav(test / "_silence_" / "1.wav", seconds=0.1)
    write_wav(train / "_background_noise_" / "hum.wav", seconds=10.0)
    (train / "validation_list.txt").write_text("".join(validation))
    (train / "testing_list.txt").write_text("")
    return train, test
