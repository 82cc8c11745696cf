"""Distortions of one envoy's clips: background noise, gain, wrong labels, a missing class.

Everything is drawn from the seed and the clip's name, so a clip sounds the same each time it is read.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from speech_commands.errors import DataError
from speech_commands.reader.audio import SAMPLE_RATE
from speech_commands.reader.silence import STRETCHES
from speech_commands.reader.table import Corpus, Split
from speech_commands.seeding import seeded_int
from speech_commands.settings import Scenario

Waveform = NDArray[np.float32]


def stage(
    shard: dict[str, Split], corpus: Corpus, scenario: Scenario, labels: tuple[str, ...], seed: int
) -> dict[str, Split]:
    """Apply a scenario to a shard.

    Args:
        shard: the envoy's splits.
        corpus: gives the background recordings that noise is cut from.
        scenario: what is worse here.
        labels: class names in the order of their ids.
        seed: of all choices.

    Returns:
        the splits, distorted.

    Raises:
        DataError: noise is asked for and there are no background recordings.

    """
    if scenario.snr_db is not None and corpus.recordings is None:
        raise DataError("scenario.snr_db adds noise from background recordings, and this source has none")
    staged = dict(shard)
    if scenario.missing_class is not None:
        missing = labels.index(scenario.missing_class)
        staged = {name: split.take(split.table.labels != missing) for name, split in staged.items()}
    if scenario.label_noise:
        staged["train"] = mislabel(staged["train"], scenario.label_noise, len(labels), seed)
    if scenario.snr_db is not None or scenario.gain_db:
        for name, split in staged.items():
            staged[name] = replace(split, distort=distortion(corpus.recordings, scenario, name, seed))
    return staged


def mislabel(split: Split, rate: float, classes: int, seed: int) -> Split:
    """Give a share of the clips another label, drawn evenly from the other classes."""
    labels = split.table.labels.copy()
    for row, name in enumerate(split.table.names()):
        if seeded_int("mislabelled", seed, name) < rate * 2**64:
            labels[row] = (labels[row] + 1 + seeded_int("label", seed, name) % (classes - 1)) % classes
    return replace(split, table=replace(split.table, labels=labels))


def distortion(
    recordings: Split | None, scenario: Scenario, split: str, seed: int
) -> Callable[[Waveform, str], Waveform]:
    """Return what changes a waveform of `split`, given the clip's name."""

    def distort(waveform: Waveform, name: str) -> Waveform:
        if recordings is not None and scenario.snr_db is not None:
            noise = draw_noise(recordings, len(waveform), split, f"{seed} {name}")
            waveform = add_noise(waveform, noise, scenario.snr_db)
        louder = waveform * np.float32(10 ** (scenario.gain_db / 20))
        return np.clip(louder, -1.0, 1.0).astype(np.float32)

    return distort


def draw_noise(recordings: Split, samples: int, split: str, seed: str) -> Waveform:
    """Cut noise out of a background recording, shape [samples].

    Training hears the first 80 % of each recording, validation and test the rest.
    """
    table = recordings.table
    row = seeded_int("recording", seed) % len(table)
    rate, total = int(table.rates[row]), int(table.frames[row])
    low, high = (int(edge * total) for edge in STRETCHES["train" if split == "train" else "val"])
    length = min(-(-samples * rate // SAMPLE_RATE), high - low)
    start = low + seeded_int("start", seed) % (high - low - length + 1)
    crop = replace(table, starts=np.full(len(table), start), frames=np.full(len(table), max(length, 1)))
    waveform, _ = replace(recordings, table=crop).read(row)
    return np.resize(waveform, samples)


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Mix noise in so that the power of `waveform` over that of the noise is `snr_db`.

    A mixture beyond full scale is turned down as a whole, which leaves the ratio as it is. Without power in
    one of the two there is no ratio, and the waveform stays as it is.
    """
    signal_power, noise_power = (
        float(np.mean(np.square(part, dtype=np.float64))) for part in (waveform, noise)
    )
    if signal_power == 0.0 or noise_power == 0.0:
        return waveform
    scale = np.sqrt(signal_power / noise_power) * 10 ** (-snr_db / 20)
    mixture = waveform + np.asarray(scale * noise, dtype=np.float64)
    return np.asarray(mixture / max(1.0, float(np.abs(mixture).max())), dtype=np.float32)
