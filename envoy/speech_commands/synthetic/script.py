"""The script of the synthetic corpus: the path, word, speaker and take of every clip."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from speech_commands.synthetic.voices import Speaker, choose_speakers
from superb_node.labels import KEYWORDS, TEST_FOLDER, TRAIN_FOLDER, UNKNOWN

# The words of Speech Commands v0.01 that are not keywords.
OTHER_WORDS = (
    "bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow",
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """The number of speakers of each split, and how often each of them says each keyword.

    The defaults give 2,304 training, 432 validation and 504 test clips, silence included: enough to learn
    from, and few enough to train on in seconds.
    """

    train_speakers: int = 48
    val_speakers: int = 12
    test_speakers: int = 14
    train_takes: int = 4
    val_takes: int = 3
    test_takes: int = 3

    @classmethod
    def of(cls, speakers: int) -> Size:
        """Return the size for so many speakers, 74 or more: an eighth each for validation and test."""
        val, test = (max(fewest, speakers // 8) for fewest in (cls.val_speakers, cls.test_speakers))
        return cls(speakers - val - test, val, test)

    @property
    def test_silences(self) -> int:
        """Number of `_silence_` clips in the test archive: as many as of a keyword."""
        return self.test_speakers * self.test_takes

    def __str__(self) -> str:
        return "-".join(map(str, astuple(self)))


@dataclass(frozen=True)
class Line:
    """One clip to speak: its path below the corpus, and the list of the training archive that names it."""

    path: str
    word: str
    speaker: Speaker
    listed: str | None = None


def write_script(seed: int, size: Size) -> list[Line]:
    """Return every spoken clip of the corpus, speaker by speaker."""
    train = choose_speakers("train", size.train_speakers, seed)
    val = choose_speakers("val", size.val_speakers, seed)
    test = choose_speakers("test", size.test_speakers, seed)
    lines = []
    for number, speaker in enumerate(train):
        lines += training_lines(speaker, number, size.train_takes, None)
    for number, speaker in enumerate(val):
        lines += training_lines(speaker, number, size.val_takes, "validation")
    for number, speaker in enumerate(test):
        lines += test_lines(speaker, number, size.test_takes)
    return lines


def training_lines(speaker: Speaker, number: int, takes: int, listed: str | None) -> list[Line]:
    """Return the lines of one speaker in the training archive."""
    return [
        Line(f"{TRAIN_FOLDER}/{word}/{speaker.name}_nohash_{take}.wav", word, speaker, listed)
        for take in range(takes)
        for word in (*KEYWORDS, other_word(number, take, takes))
    ]


def test_lines(speaker: Speaker, number: int, takes: int) -> list[Line]:
    """Return the lines of a speaker in the test archive, and an unused one in the training archive."""
    lines = []
    for take in range(takes):
        name = f"{speaker.name}_nohash_{take}.wav"
        lines += [Line(f"{TEST_FOLDER}/{word}/{name}", word, speaker) for word in KEYWORDS]
        other = other_word(number, take, takes)
        lines.append(Line(f"{TEST_FOLDER}/{UNKNOWN}/{other}_{name}", other, speaker))
    keyword = KEYWORDS[number % len(KEYWORDS)]
    path = f"{TRAIN_FOLDER}/{keyword}/{speaker.name}_nohash_{takes}.wav"
    return [*lines, Line(path, keyword, speaker, "testing")]


def other_word(number: int, take: int, takes: int) -> str:
    """Return the word of one take that is not a keyword; the speakers take all such words in turn."""
    return OTHER_WORDS[(number * takes + take) % len(OTHER_WORDS)]
