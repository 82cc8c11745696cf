"""The worker process that speaks one part of the synthetic corpus.

eSpeak NG repeats its audio only from the start of a process, so `corpus` runs
`python -m speech_commands.synthetic.worker SEED PART FOLDER SIZE…`. It writes a byte to stdout for each clip.
"""

import os
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile

from speech_commands.seeding import seeded_rng
from speech_commands.synthetic.espeak import Engine
from speech_commands.synthetic.room_acoustics import draw_room, record
from speech_commands.synthetic.script import Line, Size, write_script
from superb_node.audio import SAMPLE_RATE

PARTS = 2  # not the number of cores: what a process has spoken before changes what it speaks next


def part_of_script(seed: int, size: Size, part: int) -> list[Line]:
    """Return the lines of the speakers that belong to a part."""
    groups = [list(lines) for _, lines in groupby(write_script(seed, size), key=lambda line: line.speaker)]
    return [line for lines in groups[part::PARTS] for line in lines]


def speak(lines: list[Line], seed: int, folder: Path) -> None:
    """Speak and write the clips in order, and report each on stdout."""
    engine = Engine()
    for speaker, spoken in groupby(lines, key=lambda line: line.speaker):
        engine.use_voice(speaker.accent, speaker.variant)
        room = draw_room(seed, speaker.name)
        for line in spoken:
            rng = seeded_rng("take", seed, line.path)
            rate, pitch_range = (int(rng.integers(low, high)) for low, high in ((90, 170), (20, 90)))
            pitch = int(np.clip(speaker.pitch + rng.normal(0.0, 5.0), 0, 99))
            clip = record(engine.say(line.word, rate, pitch, pitch_range), room, rng)
            write_wav(folder / line.path, clip)
            os.write(sys.stdout.fileno(), b".")


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write 16-bit mono at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")


def main() -> None:
    """Speak the part that the command line names."""
    seed, part, folder, *size = sys.argv[1:]
    lines = part_of_script(int(seed), Size(*map(int, size)), int(part))
    speak(lines, int(seed), Path(folder))


if __name__ == "__main__":
    main()
