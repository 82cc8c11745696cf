"""The pretraining corpus: spoken on the spot, with a phoneme for every 5 ms; nothing of it is kept."""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretraining import ROOT
from pretraining.flite import VOICES, require_flite
from pretraining.phonetics import PAUSE, PhoneticEngine
from pretraining.speaking import FLITE, PARTS
from pretraining.vocabulary import choose_texts
from speech_commands.seeding import seeded_rng
from speech_commands.synthetic.corpus import run_workers
from speech_commands.synthetic.espeak import require_espeak
from speech_commands.synthetic.voices import ACCENTS, VARIANTS

BLOCK = 50  # clips that one voice speaks in a row
RARE = 1_200  # a pair of phonemes that fewer than one clip in so many has is not worth a class

# Whispers and the less outlandish of the voices that the synthetic corpus leaves out. None of those that
# speak in its validation and test splits, nor a relative of theirs, is here.
MORE_VARIANTS = (
    "AnxiousAndy", "Storm", "Tweaky", "RicishayMax", "RicishayMax2", "RicishayMax3", "announcer", "croak",
    "fast", "kaukovalta", "klatt4", "klatt5", "klatt6", "mike2", "robert", "sandro", "whisper", "whisperf",
)  # fmt: skip
PRETRAINING_VARIANTS = (*VARIANTS["train"], *MORE_VARIANTS)


@dataclass(frozen=True, eq=False)
class SpokenCorpus:
    """Clips end to end.

    Attributes:
        samples: int16 at 16 kHz, shape [n_labels * 80].
        labels: phoneme id of every 80 samples, shape [n_labels].
        starts: first label of each clip, shape [n_clips + 1].
        pairs: ids of the pairs of phonemes in each clip, int16, shape [n_clips, most], filled up with -1.
        names: of the phonemes; 0 is the pause.
        n_pairs: how many different pairs there are.
        n_words: how many different words were to be spoken, phrases not counted.
        n_phrases: how many phrases.

    """

    samples: NDArray[np.int16]
    labels: NDArray[np.uint8]
    starts: NDArray[np.int64]
    pairs: NDArray[np.int16]
    names: list[str]
    n_pairs: int
    n_words: int
    n_phrases: int

    def __len__(self) -> int:
        return len(self.pairs)

    def save(self, folder: Path) -> None:
        """Write it for other processes on this machine."""
        for name in ("samples", "labels", "starts", "pairs"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        facts = [self.names, self.n_pairs, self.n_words, self.n_phrases]
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "SpokenCorpus":
        """Read what `save` wrote; the arrays stay on disk, in copies that are private to this process."""
        arrays = (
            np.load(folder / f"{name}.npy", mmap_mode="c")
            for name in ("samples", "labels", "starts", "pairs")
        )
        return cls(*arrays, *json.loads((folder / "facts.json").read_text(encoding="utf-8")))


def speak_corpus(clips: int, invented: int, phrases: int, seed: int) -> SpokenCorpus:
    """Choose texts and voices and speak.

    Args:
        clips: how many to speak; words and phrases come up in turn, each time in another voice.
        invented: invented words to try.
        phrases: phrases to try.
        seed: of everything.

    Raises:
        ValueError: there is nothing to speak.
        DataError: eSpeak NG or Flite is missing or fails.

    """
    if clips < 1:
        raise ValueError(f"clips is {clips}; legal: at least 1")
    require_espeak()
    require_flite()
    words, phrases_chosen = choose_texts(PhoneticEngine(), invented, phrases, seed)
    script = write_script([*words, *phrases_chosen], clips, seed)
    with tempfile.TemporaryDirectory(prefix="pretraining_") as folder:
        run_speakers(script, seed, clips, Path(folder))
        parts = [load_part(Path(folder), part) for part in range(PARTS)]
    return join(parts, len(words), len(phrases_chosen))


Script = list[tuple[str, str, list[str]]]
"""Accent, variant and what they say, block by block; of Flite's blocks, `FLITE` and a voice."""


def write_script(texts: list[str], clips: int, seed: int) -> Script:
    """Deal the texts out to voices: every text comes up as often as any other.

    The synthesisers take turns, so that each speaks half of the clips, and half of each process's; and so do
    the voices of each.
    """
    rng = seeded_rng("script", seed)
    order = np.concatenate([rng.permutation(len(texts)) for _ in range(-(-clips // len(texts)))])[:clips]
    blocks = [order[i : i + BLOCK] for i in range(0, clips, BLOCK)]
    variants, voices = in_turn(PRETRAINING_VARIANTS, len(blocks), rng), in_turn(VOICES, len(blocks), rng)
    script = []
    for number, block in enumerate(blocks):
        voice = (FLITE, next(voices)) if number // PARTS % 2 else (str(rng.choice(ACCENTS)), next(variants))
        script.append((*voice, [texts[i] for i in block]))
    return script


def in_turn(names: tuple[str, ...], most: int, rng: np.random.Generator) -> Iterator[str]:
    """Yield at most so many names: each once, in some order, then again in another."""
    for _ in range(-(-most // len(names))):
        yield from (names[i] for i in rng.permutation(len(names)))


def run_speakers(script: Script, seed: int, clips: int, folder: Path) -> None:
    """Speak a script in fresh processes, each of which leaves its part in `folder`."""
    path = folder / "script.json"
    path.write_text(json.dumps({"seed": seed, "blocks": script}), encoding="utf-8")
    speaking = [sys.executable, "-m", "pretraining.speaking", str(path)]
    run_workers([[*speaking, str(part), str(folder)] for part in range(PARTS)], clips, ROOT)


Part = tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.int64], list[str]]


def load_part(folder: Path, part: int) -> Part:
    """Read what one worker left."""
    samples, labels, lengths = (
        np.load(folder / f"{kind}-{part}.npy") for kind in ("samples", "labels", "lengths")
    )
    return samples, labels, lengths, json.loads((folder / f"names-{part}.json").read_text(encoding="utf-8"))


def join(parts: list[Part], n_words: int, n_phrases: int) -> SpokenCorpus:
    """Join the parts under one list of phonemes, sorted after the pause."""
    names = sorted({name for part in parts for name in part[3]} - {PAUSE})
    ids = {name: i for i, name in enumerate([PAUSE, *names])}
    labels = np.concatenate([np.array([ids[name] for name in part[3]], np.uint8)[part[1]] for part in parts])
    starts = np.concatenate([[0], np.cumsum(np.concatenate([part[2] for part in parts]))])
    pairs, n_pairs = pairs_of(labels, starts, len(ids))
    samples = np.concatenate([part[0] for part in parts])
    return SpokenCorpus(samples, labels, starts, pairs, list(ids), n_pairs, n_words, n_phrases)


def pairs_of(
    labels: NDArray[np.uint8], starts: NDArray[np.int64], phonemes: int
) -> tuple[NDArray[np.int16], int]:
    """Tell which phonemes follow one another in each clip; before and after it is a pause.

    Returns:
        ids, shape [n_clips, most], filled up with -1, and how many different ids there are: rare pairs get
        none (see `RARE`).

    """
    found = []
    for start, end in zip(starts[:-1], starts[1:], strict=True):
        clip = np.concatenate([[0], labels[start:end], [0]]).astype(np.int64)
        found.append(np.unique(clip[:-1][clip[:-1] != clip[1:]] * phonemes + clip[1:][clip[:-1] != clip[1:]]))
    counts = np.bincount(np.concatenate(found), minlength=phonemes**2)
    kept = counts >= max(1, len(found) // RARE)
    ids = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int16)
    pairs = np.full((len(found), max(map(len, found))), -1, dtype=np.int16)
    for row, codes in zip(pairs, found, strict=True):
        row[: len(codes)] = ids[codes]
    return pairs, int(kept.sum())
