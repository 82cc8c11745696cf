"""Makes the synthetic corpus: archive folders spoken by eSpeak NG, with the same bytes for the same seed."""

import logging
import os
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from speech_commands.reader.cache import cache_root, make_once
from speech_commands.seeding import seeded_rng
from speech_commands.synthetic.backgrounds import KINDS, background
from speech_commands.synthetic.espeak import require_espeak
from speech_commands.synthetic.room_acoustics import Signal
from speech_commands.synthetic.script import Line, Size, write_script
from speech_commands.synthetic.worker import PARTS, write_wav
from superb_node.errors import DataError
from superb_node.labels import BACKGROUND, SILENCE, TEST_FOLDER, TESTING_LIST, TRAIN_FOLDER, VALIDATION_LIST

VERSION = 2  # raise it with every change that changes the bytes
BACKGROUND_SECONDS = 40.0
BABBLE_CLIPS = 60

logger = logging.getLogger(__name__)


def make_corpus(seed: int, size: Size) -> tuple[Path, Path]:
    """Return the folders of the training and the test archive; make them if they are not in the cache.

    Args:
        seed: of voices, takes and noise.
        size: number of speakers and takes; tests use smaller ones.

    Raises:
        DataError: eSpeak NG is missing or fails, or the cache cannot be written.
    """
    name = f"synthetic-v{VERSION}-seed{seed}" + ("" if size == Size() else f"-{size}")

    def make(folder: Path) -> None:
        require_espeak()
        write_corpus(folder, seed, size)

    corpus = make_once(cache_root() / name, make)
    return corpus / TRAIN_FOLDER, corpus / TEST_FOLDER


def write_corpus(folder: Path, seed: int, size: Size) -> None:
    """Write both archive folders below `folder`."""
    lines = write_script(seed, size)
    logger.info("Speaking %d clips with eSpeak NG (seed %d)", len(lines), seed)
    arguments = [str(folder), *map(str, astuple(size))]
    speaking = [sys.executable, "-m", "speech_commands.synthetic.worker", str(seed)]
    commands = [[*speaking, str(part), *arguments] for part in range(PARTS)]
    run_workers(commands, len(lines), Path(__file__).resolve().parents[2])
    train = folder / TRAIN_FOLDER
    for name, listed in ((VALIDATION_LIST, "validation"), (TESTING_LIST, "testing")):
        paths = sorted(line.path.removeprefix(f"{TRAIN_FOLDER}/") for line in lines if line.listed == listed)
        (train / name).write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    speech = {split: read_speech(folder, lines, split) for split in ("train", "test")}
    for kind in KINDS:
        rng = seeded_rng("background", seed, kind)
        recording = background(kind, BACKGROUND_SECONDS, rng, speech["train"])
        write_wav(train / BACKGROUND / f"{kind}.wav", recording)
    for number in range(size.test_silences):
        rng = seeded_rng("test silence", seed, number)
        clip = background(list(KINDS)[number % len(KINDS)], 1.0, rng, speech["test"])
        write_wav(folder / TEST_FOLDER / SILENCE / f"{number}.wav", clip)


def run_workers(commands: list[list[str]], clips: int, cwd: Path) -> None:
    """Speak in fresh processes and show their progress.

    Args:
        commands: one for each process, which writes a byte to its standard output for each clip.
        clips: number of clips of all processes.
        cwd: working directory of the processes, from which their modules can be imported.

    Raises:
        DataError: a process failed.
    """
    reading, writing = os.pipe()
    workers: list[subprocess.Popen[bytes]] = []
    try:
        # `extend` adds them one by one, so those that run are stopped if another cannot be started.
        workers.extend(subprocess.Popen(command, stdout=writing, cwd=cwd) for command in commands)
        os.close(writing)
        with tqdm(total=clips, desc="speaking", unit="clip", disable=None) as bar:
            while done := os.read(reading, 4096):
                bar.update(len(done))
        if any(worker.wait() for worker in workers):
            raise DataError("a worker that speaks failed; its message is above")
    finally:
        os.close(reading)
        for worker in workers:
            worker.kill()
            worker.wait()


def read_speech(folder: Path, lines: list[Line], split: str) -> Signal:
    """Return clips of a split end to end, shape [n], as the source of the babble."""
    spoken = [line for line in lines if line.speaker.split == split]
    chosen = spoken[:: max(1, len(spoken) // BABBLE_CLIPS)]
    return np.concatenate([soundfile.read(folder / line.path)[0] for line in chosen])
