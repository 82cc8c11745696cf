"""Flite with its phonemes: four voices built from recordings of people, where eSpeak NG works by rules.

Only the pretraining needs the command `flite`.
"""

import re
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from pretraining.phonetics import PAUSE, Utterance
from superb_node.errors import DataError

VOICES = ("kal16", "awb", "rms", "slt")
"""All that speak English at 16 kHz: two from the United States, one from Scotland, one a woman's."""

PRONOUNCING = "kal16"

# What Flite calls its phonemes, and eSpeak NG the same in American English, where the names differ.
ESPEAK_NAMES = {
    "aa": "A", "ae": "a", "ah": "V", "ao": "O", "aw": "aU", "ax": "@", "ay": "aI", "ch": "tS", "dh": "D",
    "eh": "E", "er": "3", "ey": "eI", "hh": "h", "ih": "I", "iy": "i", "jh": "dZ", "ng": "N", "ow": "oU",
    "oy": "OI", "pau": PAUSE, "sh": "S", "th": "T", "uh": "U", "uw": "u", "y": "j", "zh": "Z",
}  # fmt: skip


def require_flite() -> None:
    """Check that the command is there and has the voices.

    Raises:
        DataError: it is not, or has not.

    """
    if shutil.which("flite") is None:
        raise DataError(
            "the pretraining needs the command flite: sudo apt install flite, or brew install flite"
        )
    available = run("-lv").split(":")[-1].split()
    missing = [voice for voice in VOICES if voice not in available]
    if missing:
        raise DataError(f"this flite has no voice {', '.join(missing)}; it has: {', '.join(available)}")


def version() -> str:
    """Return what the command calls its version, such as "flite-2.2-current"."""
    # It ends with 1 even so.
    said = subprocess.run(["flite", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version: *(\S+)", said.stdout)
    return found[1] if found else "flite of an unknown version"


def run(*options: str) -> str:
    """Run Flite and return what it prints.

    Raises:
        DataError: it fails.

    """
    done = subprocess.run(["flite", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"flite ends with {done.returncode}: {done.stderr.strip()[-200:]}")
    return done.stdout


def utter(text: str, voice: str, stretch: float, pitch: float) -> Utterance:
    """Speak a text.

    Args:
        text: English words.
        voice: one of `VOICES`.
        stretch: how much longer each phoneme lasts than is usual for the voice.
        pitch: factor on the voice's pitch; "rms" does not change its own.

    Raises:
        DataError: Flite fails, or says no phoneme.

    """
    manner = ["--setf", f"duration_stretch={stretch:.3f}", "--setf", f"f0_shift={pitch:.3f}"]
    with tempfile.TemporaryDirectory(prefix="flite_") as folder:
        path = Path(folder) / "said.wav"
        printed = run("-voice", voice, *manner, "-psdur", "-t", text, "-o", str(path))
        with wave.open(str(path)) as said:
            rate, samples = said.getframerate(), np.frombuffer(said.readframes(said.getnframes()), np.int16)
    pairs = [item.rsplit(":", 1) for item in printed.split()]
    if not pairs:
        raise DataError(f"flite says nothing for {text!r} with voice {voice}")
    ends = np.array([float(end) for _, end in pairs])
    # "kal16" speaks a fifteenth faster than it prints: only the shares of the whole are right in all voices.
    starts = np.concatenate([[0.0], ends[:-1]]) / ends[-1] * len(samples)
    return Utterance(samples, rate, [espeak_name(name) for name, _ in pairs], starts.astype(np.int64))


def espeak_name(name: str) -> str:
    """Return what eSpeak NG calls one of Flite's phonemes."""
    return ESPEAK_NAMES.get(name, name)


def pronounce(words: list[str]) -> dict[str, str]:
    """Tell how words sound, in eSpeak NG's phoneme mnemonics.

    Raises:
        DataError: Flite fails.

    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("".join(f"{word}\n\n" for word in words))  # each is a paragraph, and gets a line
        file.flush()
        lines = run("-voice", PRONOUNCING, "-ps", "-f", file.name, "-o", "none").strip().split("\n")
    if len(lines) != len(words):
        raise DataError(f"flite pronounces {len(lines)} of {len(words)} words")
    return {
        word: "".join(espeak_name(name) for name in line.split() if name != "pau")
        for word, line in zip(words, lines, strict=True)
    }
