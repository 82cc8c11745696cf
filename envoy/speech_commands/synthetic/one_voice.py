"""Speaks words by a voice that the corpus has not, in the layout of Speech Commands.

`python -m speech_commands.synthetic.one_voice FOLDER WORD…` writes the same clips each time, without lists
of those for validation and test. The word `room` stands for ten seconds without speech.
"""

import argparse
import sys
from pathlib import Path

from speech_commands.seeding import seeded_int, seeded_rng
from speech_commands.synthetic.espeak import require_espeak
from speech_commands.synthetic.room_acoustics import coloured_noise, draw_room, to_int16
from speech_commands.synthetic.script import Line
from speech_commands.synthetic.voices import Speaker
from speech_commands.synthetic.worker import speak, write_wav
from superb_node.audio import SAMPLE_RATE
from superb_node.command_line import keep_files_private, set_up_output
from superb_node.errors import DataError
from superb_node.labels import BACKGROUND

SEED = 0
VOICE = Speaker(
    name=f"{seeded_int('speaker', SEED, 'whisperf') >> 32:08x}",
    split="train",
    accent="en",
    variant="whisperf",
    pitch=60,
)
"""It whispers, as no speaker of the corpus does."""
ROOM, ROOM_SECONDS, ROOM_PEAK = "room", 10, -40.0  # dB below full scale


def main() -> None:
    """Speak what the command line names."""
    set_up_output()
    keep_files_private()
    parser = argparse.ArgumentParser(
        prog="python -m speech_commands.synthetic.one_voice", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("words", nargs="+", metavar="WORD")
    parser.add_argument("--takes", type=int, default=5, help="how often each word is spoken (default 5)")
    given = parser.parse_args()
    try:
        require_espeak()
        words = [word for word in given.words if word != ROOM]
        speak(script(words, given.takes), SEED, given.folder)
    except DataError as error:
        sys.exit(f"error: {error}")
    if ROOM in given.words:
        samples, slope = ROOM_SECONDS * SAMPLE_RATE, draw_room(SEED, VOICE.name).noise_slope
        noise = coloured_noise(samples, slope, seeded_rng("one room", SEED))
        write_wav(given.folder / BACKGROUND / f"{ROOM}.wav", to_int16(noise, ROOM_PEAK))


def script(words: list[str], takes: int) -> list[Line]:
    """Return the lines of all words, in the order in which they are spoken."""
    return [
        Line(f"{word}/{VOICE.name}_nohash_{take}.wav", word, VOICE) for take in range(takes) for word in words
    ]


if __name__ == "__main__":
    main()
