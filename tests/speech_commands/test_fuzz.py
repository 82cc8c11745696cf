"""Fuzzing of the reader: whatever the files and folders, it reads clips or raises DataError, nothing else.

A short run by default. A long one, which tells how many were read and how many refused:

    FUZZ_CASES=24000 python -m pytest tests/speech_commands/test_fuzz.py --hypothesis-show-statistics
"""

import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from superb_node.audio import AudioBytes, AudioFile, decode, read_header
from superb_node.errors import DataError
from superb_node.labels import KEYWORDS
from superb_shard_descriptor import SuperbShardDescriptor

CASES = int(os.environ.get("FUZZ_CASES", "300"))

short = settings(
    deadline=None, database=None, derandomize=CASES <= 300, suppress_health_check=list(HealthCheck)
)


def encoded(**form: object) -> bytes:
    """Return a tenth of a second of noise as a file."""
    buffer = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 1600)
    soundfile.write(buffer, samples, 16_000, **form)
    return buffer.getvalue()


SEEDS = [
    encoded(format="WAV", subtype="PCM_16"),
    encoded(format="WAV", subtype="FLOAT"),
    encoded(format="WAV", subtype="IMA_ADPCM"),
    encoded(format="WAVEX", subtype="PCM_24"),
    encoded(format="FLAC"),
    encoded(format="OGG"),
    encoded(format="AIFF"),
    encoded(format="AU"),
    encoded(format="MP3"),
    b"RIFF",
    b"",
]


def damage(content: bytes, seed: int) -> bytes:
    """Overwrite, put in, cut out or cut off bytes at up to four places, every other one near the header.

    Drawn by NumPy, evenly: hypothesis prefers small numbers, and those fall on the first bytes, without which
    a file is refused at once.
    """
    rng, damaged = np.random.default_rng(seed), bytearray(content)
    for _ in range(rng.integers(0, 5)):
        reach = len(damaged) if rng.random() < 0.5 else min(len(damaged), 64)
        at = int(rng.integers(0, reach + 1))
        piece = [rng.bytes(rng.integers(1, 9)), b"\xff" * 4, b"\0" * 4, b"\x7f"][rng.integers(0, 4)]
        match rng.choice(["overwrite", "insert", "remove", "cut"], p=[0.7, 0.1, 0.1, 0.1]):
            case "overwrite":
                damaged[at : at + len(piece)] = piece
            case "insert":
                damaged[at:at] = piece
            case "remove":
                del damaged[at : at + len(piece)]
            case _:
                del damaged[at:]
    return bytes(damaged)


def damaged_files() -> st.SearchStrategy[bytes]:
    return st.builds(damage, st.sampled_from(SEEDS), st.integers(0, 2**32 - 1))


@given(content=damaged_files(), from_disk=st.booleans())
@settings(short, max_examples=CASES * 9 // 10)
def test_damaged_files(content: bytes, from_disk: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(folder) / "clip.wav"
        path.write_bytes(content)
        open_file: Callable[[], AudioFile] = lambda: str(path) if from_disk else AudioBytes(content)  # noqa: E731
        try:
            header = read_header(open_file(), "clip")
            waveform = decode(open_file(), "clip")
        except DataError:
            event("files refused")
            return
    assert header.frames > 0
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform) > 0
    assert np.abs(waveform).max() <= 1.0
    event("files read")


NAMES = [
    "ok.wav", "clip.WAV", "00000009_nohash_9.wav", ".hidden", "a\nb.wav", "\udcff\udcfe.wav", "é 字.wav",
    "x" * 200 + ".wav",
]  # fmt: skip
LINES = [
    "yes/00000001_nohash_0.wav", "../../etc/passwd", "/etc/passwd", "yes", "", "\0", "no/\udcff.wav",
    "yes\\a.wav",
]  # fmt: skip

Damage = Callable[[Path], None]


def write(path: Path, content: bytes) -> None:
    """Write a file in the place of whatever is there: an earlier damage may have made it a pipe."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def put(folder: str, name: str, content: bytes) -> Damage:
    return lambda root: write(root / folder / name, content)


def write_list(name: str, text: bytes) -> Damage:
    return lambda root: write(root / name, text)


def remove(name: str) -> Damage:
    def do(root: Path) -> None:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return do


def replace_by(name: str, kind: str) -> Damage:
    """Put something in the place of a file or folder that cannot be one."""

    def do(root: Path) -> None:
        remove(name)(root)
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match kind:
            case "folder":
                path.mkdir(exist_ok=True)
            case "pipe":
                os.mkfifo(path)
            case "loop":
                path.symlink_to(path)
            case "dangling":
                path.symlink_to(root / "nowhere")
            case _:
                path.write_bytes(b"text")

    return do


folders = st.sampled_from(
    [*KEYWORDS[:3], "bed", "_background_noise_", "_silence_", "_unknown_", "deep/er", "\udcff"]
)
places = st.sampled_from(
    ["yes", "no/00000001_nohash_0.wav", "go/new.wav", "_silence_", "_background_noise_",
     "_background_noise_/hum.wav", "validation_list.txt", "testing_list.txt"]
)  # fmt: skip
damages = st.one_of(
    st.builds(put, folders, st.sampled_from(NAMES), damaged_files()),
    st.builds(
        write_list,
        st.sampled_from(["validation_list.txt", "testing_list.txt"]),
        st.one_of(
            st.binary(max_size=40),
            st.lists(st.sampled_from(LINES), max_size=5).map(
                lambda lines: "\n".join(lines).encode("utf-8", "surrogateescape")
            ),
        ),
    ),
    st.builds(remove, places),
    st.builds(replace_by, places, st.sampled_from(["folder", "pipe", "loop", "dangling", "text"])),
)
setups = st.fixed_dictionaries(
    {
        "rank_worldsize": st.sampled_from(["1, 1", "1, 2", "2, 3"]),
        "partition": st.sampled_from(["iid", "speaker", "dirichlet", "quantity"]),
        "on_bad_clip": st.sampled_from(["error", "skip"]),
        "labels": st.sampled_from([None, ["yes", "no"], ["yes", "no", "_unknown_"], ["bed", "_silence_"]]),
    }
)


@given(on_train=st.lists(damages, max_size=3), on_test=st.lists(damages, max_size=2), setup=setups)
@settings(short, max_examples=CASES // 10)
def test_damaged_folders(on_train: list[Damage], on_test: list[Damage], setup: dict) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        train, test = Path(folder) / "train", Path(folder) / "test"
        build(train, test)
        for root, list_of_damages in ((train, on_train), (test, on_test)):
            for do_damage in list_of_damages:
                with suppress(OSError):  # one damage may leave no place for the next
                    do_damage(root)
        shard, refusal = None, ""
        try:
            shard = SuperbShardDescriptor(source="folder", data_dir=str(train), test_dir=str(test), **setup)
        except DataError as error:
            refusal = str(error)
        if shard is None:
            assert refusal.encode("utf-8").count(b"\n") == 0
            event("folders refused")
            return
        json.loads(shard.dataset_description)
        read_every_clip(shard)
        event("folders read")


def read_every_clip(shard: SuperbShardDescriptor) -> None:
    """Decode everything; a clip whose header was good may still turn out damaged."""
    for split in shard.get_shard_dataset_types():
        dataset = shard.get_dataset(split)
        assert len(dataset) > 0
        for row in range(len(dataset)):
            try:
                waveform, label = dataset[row]
            except DataError:
                continue
            assert np.isfinite(waveform).all()
            assert 0 <= label < len(shard.labels)


def build(train: Path, test: Path) -> None:
    """Write two small archives without decoding or encoding anything."""
    clip = SEEDS[0]
    for word in (*KEYWORDS[:3], "bed"):
        for root, speakers in ((train, "123"), (test, "4")):
            for speaker in speakers:
                path = root / word / f"0000000{speaker}_nohash_0.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(clip)
    (train / "_background_noise_").mkdir()
    (train / "_background_noise_" / "hum.wav").write_bytes(clip)
    names = [f"{word}/00000003_nohash_0.wav\n" for word in (*KEYWORDS[:3], "bed")]
    (train / "validation_list.txt").write_text("".join(names))
    (train / "testing_list.txt").write_text("")
