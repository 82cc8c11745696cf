"""The worker that speaks part of the pretraining corpus, with eSpeak NG and with Flite.

A process of its own, because eSpeak NG repeats itself only from a fresh start. Run by `corpus`, as
`python -m pretraining.speaking SCRIPT PART FOLDER`; writes one byte to stdout for each clip.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretraining import flite
from pretraining.phonetics import PAUSE, PhoneticEngine, Utterance
from speech_commands.seeding import seeded_rng
from speech_commands.synthetic.room_acoustics import WINDOW_SECONDS, Room, apply_room
from superb_node.audio import SAMPLE_RATE

PARTS = 2  # fixed and not the number of cores: what a process spoke before changes what it speaks next
LABEL_STEP = 80  # samples at 16 kHz that one phoneme label is for: 5 ms
LONGEST = 1.4  # seconds, with the pause before the first sound; what is longer is cut there
FLITE = "flite"  # in a script, in place of an accent of eSpeak NG
STRETCH, PITCH = (0.75, 1.25), (0.8, 1.3)  # of Flite's voices; eSpeak NG has units of its own
ANECHOIC = Room(np.ones(WINDOW_SECONDS * SAMPLE_RATE // 2 + 1, dtype=np.complex128), 0.0)


def label(utterance: Utterance, names: dict[str, int]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Resample an utterance to 16 kHz and label it; the pauses at both ends are cut off.

    Args:
        utterance: what was said.
        names: phoneme ids; new phonemes get the next one.

    Returns:
        samples at 16 kHz, shape [n * LABEL_STEP], and phoneme ids, shape [n].

    """
    voiced = [i for i, name in enumerate(utterance.names) if name != PAUSE]
    if not voiced:
        return np.zeros(0, np.int16), np.zeros(0, np.uint8)
    ends = np.append(utterance.starts[1:], len(utterance.samples))
    heard, ratio = at_16_khz(utterance)
    first = utterance.starts[voiced[0]] * ratio
    end = min(ends[voiced[-1]] * ratio, LONGEST * SAMPLE_RATE, len(heard))
    count = int((end - first) / LABEL_STEP)
    heard = np.clip(heard[int(first) : int(first) + count * LABEL_STEP], -1.0, 1.0)
    middles = first + (np.arange(count) + 0.5) * LABEL_STEP
    which = np.searchsorted(utterance.starts * ratio, middles, side="right") - 1
    ids = [names.setdefault(name, len(names)) for name in utterance.names]
    return np.round(heard * 32767).astype(np.int16), np.array(ids, dtype=np.uint8)[which]


def at_16_khz(utterance: Utterance) -> tuple[NDArray[np.float64], float]:
    """Return the samples at 16 kHz, in [-1, 1], and how many there are for each of the utterance."""
    ratio = SAMPLE_RATE / utterance.rate
    if ratio == 1:
        return utterance.samples / 2**15, ratio
    # `apply_room` leaves the spectrum as it is: fewer samples, larger ones.
    return apply_room(utterance.samples, ANECHOIC) * ratio, ratio


def takes(
    engine: PhoneticEngine, accent: str, voice: str, texts: list[str], rng: np.random.Generator
) -> Iterator[Utterance]:
    """Speak a block of texts with one voice; rate and pitch are drawn for each."""
    if accent == FLITE:
        for text in texts:
            yield flite.utter(text, voice, rng.uniform(*STRETCH), rng.uniform(*PITCH))
        return
    engine.use_voice(accent, voice)
    for text in texts:
        rate, pitch, pitch_range = (int(rng.integers(*limits)) for limits in ((80, 190), (20, 90), (10, 95)))
        yield engine.utter(text, rate, pitch, pitch_range)


def speak(script: list[list], seed: int, part: int, folder: Path) -> None:
    """Speak this part's blocks in order and write `samples`, `labels`, `lengths` and `names`."""
    engine, names = PhoneticEngine(), {PAUSE: 0}
    samples, labels = [], []
    for number, (accent, voice, texts) in enumerate(script):
        if number % PARTS != part:
            continue
        for utterance in takes(engine, accent, voice, texts, seeded_rng("take", seed, number)):
            clip, ids = label(utterance, names)
            samples.append(clip)
            labels.append(ids)
            os.write(sys.stdout.fileno(), b".")
    np.save(folder / f"samples-{part}.npy", np.concatenate(samples))
    np.save(folder / f"labels-{part}.npy", np.concatenate(labels))
    np.save(folder / f"lengths-{part}.npy", np.array([len(ids) for ids in labels], dtype=np.int64))
    (folder / f"names-{part}.json").write_text(json.dumps(list(names)), encoding="utf-8")


def main() -> None:
    """Speak the part that the command line names, or end without a word when Ctrl-C asks for it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    script, part, folder = sys.argv[1:]
    content = json.loads(Path(script).read_text(encoding="utf-8"))
    speak(content["blocks"], content["seed"], int(part), Path(folder))


if __name__ == "__main__":
    main()
