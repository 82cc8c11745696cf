"""The worker that speaks part of the pretraining corpus.

A process of its own, because eSpeak NG repeats itself only from a fresh start. Run by `corpus`, as
`python -m pretraining.speaking SCRIPT PART FOLDER`; writes one byte to stdout for each clip.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretraining.phonetics import PAUSE, PhoneticEngine, Utterance
from speech_commands.seeding import seeded_rng
from speech_commands.synthetic.espeak import ESPEAK_RATE
from speech_commands.synthetic.room_acoustics import WINDOW_SECONDS, Room, apply_room
from superb_node.audio import SAMPLE_RATE

PARTS = 2  # fixed and not the number of cores: what a process spoke before changes what it speaks next
LABEL_STEP = 80  # samples at 16 kHz that one phoneme label is for: 5 ms
LONGEST = 1.4  # seconds; what is longer is cut there
ANECHOIC = Room(np.ones(WINDOW_SECONDS * SAMPLE_RATE // 2 + 1, dtype=np.complex128), 0.0)


def label(utterance: Utterance, names: dict[str, int]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Resample an utterance to 16 kHz and label it; the pauses at both ends are cut off.

    Args:
        utterance: what eSpeak NG said.
        names: phoneme ids; new phonemes get the next one.

    Returns:
        samples at 16 kHz, shape [n * LABEL_STEP], and phoneme ids, shape [n].

    """
    voiced = [i for i, name in enumerate(utterance.names) if name != PAUSE]
    if not voiced:
        return np.zeros(0, np.int16), np.zeros(0, np.uint8)
    ends = np.append(utterance.starts[1:], len(utterance.samples))
    ratio = SAMPLE_RATE / ESPEAK_RATE
    first, end = utterance.starts[voiced[0]] * ratio, min(ends[voiced[-1]] * ratio, LONGEST * SAMPLE_RATE)
    count = int((end - first) / LABEL_STEP)
    heard = apply_room(utterance.samples, ANECHOIC)[int(first) : int(first) + count * LABEL_STEP]
    heard = np.clip(
        heard * ratio, -1.0, 1.0
    )  # `apply_room` leaves the spectrum as it is: fewer samples, larger ones
    middles = first + (np.arange(count) + 0.5) * LABEL_STEP
    which = np.searchsorted(utterance.starts * ratio, middles, side="right") - 1
    ids = [names.setdefault(name, len(names)) for name in utterance.names]
    return np.round(heard * 32767).astype(np.int16), np.array(ids, dtype=np.uint8)[which]


def speak(script: list[list], seed: int, part: int, folder: Path) -> None:
    """Speak this part's blocks in order and write `samples`, `labels`, `lengths` and `names`."""
    engine, names = PhoneticEngine(), {PAUSE: 0}
    samples, labels = [], []
    for number, (accent, variant, texts) in enumerate(script):
        if number % PARTS != part:
            continue
        engine.use_voice(accent, variant)
        rng = seeded_rng("take", seed, number)
        for text in texts:
            rate, pitch, pitch_range = (
                int(rng.integers(*limits)) for limits in ((80, 190), (20, 90), (10, 95))
            )
            clip, ids = label(engine.utter(text, rate, pitch, pitch_range), names)
            samples.append(clip)
            labels.append(ids)
            os.write(sys.stdout.fileno(), b".")
    np.save(folder / f"samples-{part}.npy", np.concatenate(samples))
    np.save(folder / f"labels-{part}.npy", np.concatenate(labels))
    np.save(folder / f"lengths-{part}.npy", np.array([len(ids) for ids in labels], dtype=np.int64))
    (folder / f"names-{part}.json").write_text(json.dumps(list(names)), encoding="utf-8")


def main() -> None:
    """Speak the part that the command line names."""
    script, part, folder = sys.argv[1:]
    content = json.loads(Path(script).read_text(encoding="utf-8"))
    speak(content["blocks"], content["seed"], int(part), Path(folder))


if __name__ == "__main__":
    main()
