"""Finds what is wrong with a corpus, clip by clip."""

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech_commands.reader.lists import read_list, unmatched_lines
from speech_commands.reader.table import Corpus, Split
from speech_commands.shard import clips_without_speaker
from speech_commands.sources.corpus import other_folders, words_without_clip
from superb_node.audio import MAX_CLIP_SECONDS, SAMPLE_RATE, AudioFile, decode, read_header
from superb_node.errors import DataError
from superb_node.labels import LABELS, TESTING_LIST, VALIDATION_LIST
from superb_node.shard_card import SPLITS

FULL_SCALE = 0.9999  # of a sample; 16-bit audio reaches 0.99997
SHORTEST = SAMPLE_RATE // 16  # samples; the same as in superb_ks.model.spec
CLIPPED_RUN = 4  # consecutive samples at full scale: the peak was cut off; fewer may only touch it

# Kinds of findings. A problem makes scores wrong or training fail; a note does neither.
PROBLEMS = {
    "unreadable": "not audio, or without a sample",
    "cut": "shorter than the header promises",
    "silent": "nothing but zeros",
    "word without a clip": "no training clip of this class",
    "speaker in two splits": "scores on speakers of the training split are too high",
    "same audio in two splits": "scores on clips of the training split are too high",
    "same audio, two classes": "one of the two labels is wrong",
    "too long": f"more than {MAX_CLIP_SECONDS} seconds, which no model takes at once",
    "in both lists": "the validation and the testing list name it",
    "list without effect": "no line matches a file, so the clips that it should exclude are trained on",
}
NOTES = {
    "same audio twice": "within one split and class",
    "clipped": f"{CLIPPED_RUN} or more consecutive samples at full scale",
    "stereo": "more than one channel; the reader averages them",
    "other rate": f"not {SAMPLE_RATE} Hz; resampled each time it is read",
    "longer than a second": "models for this task expect one second",
    "shorter than a sixteenth of a second": "padded with zeros for the model",
    "no speaker known": "no eight hex digits and _nohash_ in its name; partition: speaker refuses it",
    "listed, not there": "a list of the training archive names it",
}


@dataclass
class Findings:
    """Places by kind of finding, in the order in which they were found."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, place: str) -> None:
        """Add a place to a kind of finding."""
        self.places.setdefault(kind, []).append(place)

    @property
    def any_problem(self) -> bool:
        """Whether a finding is a problem and not only a note."""
        return any(kind in PROBLEMS for kind in self.places)


def inspect(
    corpus: Corpus,
    train_dir: Path | None,
    progress: Callable[[], object] = lambda: None,
    labels: tuple[str, ...] = LABELS,
) -> Findings:
    """Decode and inspect every clip.

    Args:
        corpus: opened with on_bad_clip "skip".
        train_dir: folder of the training archive, whose lists are inspected too.
        progress: called once for each clip.
        labels: class names in the order of their ids.
    """
    findings = Findings()
    for line in corpus.problems:
        findings.add("unreadable", line)
    if train_dir is not None:
        inspect_lists(findings, train_dir)
    for word in words_without_clip(corpus, labels):
        findings.add("word without a clip", f"{word}{other_folders(corpus, labels)}")
    inspect_speakers(findings, corpus, labels)
    first_with: dict[bytes, tuple[str, int, str]] = {}
    for name in SPLITS:
        split, unmeasured = without_crops(corpus, name).measured()
        for line in unmeasured:
            findings.add("unreadable", line)
        for row in range(len(split)):
            progress()
            place = split.name(str(split.table.keys[row]))
            digest = inspect_clip(findings, split, row, place)
            if digest is not None:
                clip = (name, int(split.table.labels[row]), place)
                compare(findings, first_with.setdefault(digest, clip), clip)
    return findings


def without_crops(corpus: Corpus, name: str) -> Split:
    """Return a split without its silence crops, which are parts of longer recordings."""
    split = corpus.splits[name]
    if corpus.recordings is None:
        return split
    return split.take(~np.isin(split.table.keys, corpus.recordings.table.keys))


def inspect_clip(findings: Findings, split: Split, row: int, place: str) -> bytes | None:
    """Record what is wrong with one clip; return a digest of its samples unless it is unusable."""
    key = str(split.table.keys[row])
    if is_cut(read_bytes(split.open(key))):
        findings.add("cut", place)
    try:
        waveform = decode(split.open(key), place)
    except DataError as error:
        findings.add("unreadable", str(error))
        return None
    rate, frames = int(split.table.rates[row]), int(split.table.frames[row])
    if rate != SAMPLE_RATE:
        findings.add("other rate", f"{place} ({rate} Hz)")
    if frames > MAX_CLIP_SECONDS * rate:
        findings.add("too long", f"{place} ({frames / rate:.2f} s)")
    elif frames > rate:
        findings.add("longer than a second", f"{place} ({frames / rate:.2f} s)")
    elif frames * SAMPLE_RATE < SHORTEST * rate:
        findings.add("shorter than a sixteenth of a second", f"{place} ({frames / rate:.3f} s)")
    if read_header(split.open(key), place).channels > 1:
        findings.add("stereo", place)
    if not waveform.any():
        findings.add("silent", place)
        return None
    if is_clipped(waveform):
        findings.add("clipped", place)
    return hashlib.blake2b(waveform.tobytes(), digest_size=16).digest()


def compare(findings: Findings, first: tuple[str, int, str], clip: tuple[str, int, str]) -> None:
    """Record that two clips have the same samples."""
    if first[2] == clip[2]:
        return
    pair = f"{first[2]} = {clip[2]}"
    if first[0] != clip[0]:
        findings.add("same audio in two splits", pair)
    elif first[1] != clip[1]:
        findings.add("same audio, two classes", pair)
    else:
        findings.add("same audio twice", pair)


def inspect_speakers(findings: Findings, corpus: Corpus, labels: tuple[str, ...]) -> None:
    """Record the speakers that are in more than one split, and the words whose speaker is not known."""
    for name in SPLITS:
        for place in clips_without_speaker(corpus.splits[name], labels):
            findings.add("no speaker known", place)
    splits_of: dict[str, list[str]] = {}
    for name in SPLITS:
        for speaker in np.unique(corpus.splits[name].table.speakers).tolist():
            splits_of.setdefault(speaker, []).append(name)
    for speaker, splits in splits_of.items():
        if speaker and len(splits) > 1:
            findings.add("speaker in two splits", f"{speaker} ({', '.join(splits)})")


def inspect_lists(findings: Findings, train_dir: Path) -> None:
    """Record what is wrong with the two lists of the training archive."""
    validation = read_list(train_dir / VALIDATION_LIST, required=True)
    testing = read_list(train_dir / TESTING_LIST, required=False)
    for key in sorted(validation.keys() & testing.keys()):
        findings.add("in both lists", validation[key])
    for name, lines in ((VALIDATION_LIST, validation), (TESTING_LIST, testing)):
        missing = unmatched_lines(train_dir, name)
        for line in missing:
            findings.add("listed, not there", f"{name}: {line}")
        if lines and len(missing) == len(lines):
            findings.add("list without effect", f"{name}: {len(lines)} lines, such as {missing[0]!r}")


def read_bytes(file: AudioFile) -> bytes:
    """Return the bytes of a file or buffer."""
    if isinstance(file, str):
        return Path(file).read_bytes()
    return file.read()


def is_clipped(waveform: NDArray[np.float32]) -> bool:
    """Return whether peaks were cut off at full scale."""
    full = np.abs(waveform) >= FULL_SCALE
    runs = np.convolve(full, np.ones(CLIPPED_RUN), mode="valid")
    return bool((runs >= CLIPPED_RUN).any())


def is_cut(content: bytes) -> bool:
    """Return whether a WAV file ends before the samples that its header promises."""
    return any(name == b"data" and end > len(content) for name, end in wav_chunks(content))


def wav_chunks(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the name and end of each chunk of a RIFF WAVE file, as its header gives them."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return
    at = 12
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        if size != 0xFFFFFFFF:  # a stream of unknown length
            yield name, at + 8 + size
        at += 8 + size + size % 2
