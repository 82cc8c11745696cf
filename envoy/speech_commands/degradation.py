"""Degrades one envoy's clips as its scenario says: background noise, gain, wrong labels, a missing class.

All choices are drawn from the seed and the clip's name, so a clip sounds the same each time it is read.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from speech_commands.reader.silence import STRETCHES
from speech_commands.reader.table import Corpus, Split
from speech_commands.seeding import seeded_int
from speech_commands.settings import Scenario
from superb_node.audio import SAMPLE_RATE
from superb_node.errors import DataError

Waveform = NDArray[np.float32]


def degrade(
    shard: dict[str, Split], corpus: Corpus, scenario: Scenario, labels: tuple[str, ...], seed: int
) -> dict[str, Split]:
    """Return a shard as its scenario degrades it.

    Args:
        shard: the envoy's splits.
        corpus: gives the background recordings that noise is cut from.
        scenario: what is worse in this shard.
        labels: class names in the order of their ids.
        seed: of all choices.

    Returns:
        the degraded splits.

    Raises:
        DataError: the scenario adds noise, and there are no background recordings.
    """
    if scenario.snr_db is not None and corpus.recordings is None:
        raise DataError("scenario.snr_db adds noise from background recordings, and this source has none")
    degraded = dict(shard)
    if scenario.missing_class is not None:
        missing = labels.index(scenario.missing_class)
        degraded = {name: split.take(split.table.labels != missing) for name, split in degraded.items()}
    if scenario.label_noise:
        degraded["train"] = mislabel(degraded["train"], scenario.label_noise, len(labels), seed)
    if scenario.snr_db is not None or scenario.gain_db:
        for name, split in degraded.items():
            degraded[name] = replace(split, distort=distortion(corpus.recordings, scenario, name, seed))
    return degraded


def mislabel(split: Split, rate: float, classes: int, seed: int) -> Split:
    """Give the share `rate` of the clips another label, drawn uniformly from the other classes."""
    labels = split.table.labels.copy()
    for row, name in enumerate(split.table.names()):
        if seeded_int("mislabelled", seed, name) < rate * 2**64:
            labels[row] = (labels[row] + 1 + seeded_int("label", seed, name) % (classes - 1)) % classes
    return replace(split, table=replace(split.table, labels=labels))


def distortion(
    recordings: Split | None, scenario: Scenario, split: str, seed: int
) -> Callable[[Waveform, str], Waveform]:
    """Return a function that distorts a waveform of `split`, given the clip's name."""

    def distort(waveform: Waveform, name: str) -> Waveform:
        if recordings is not None and scenario.snr_db is not None:
            noise = draw_noise(recordings, len(waveform), split, f"{seed} {name}")
            waveform = add_noise(waveform, noise, scenario.snr_db)
        amplified = waveform * np.float32(10 ** (scenario.gain_db / 20))
        return np.clip(amplified, -1.0, 1.0).astype(np.float32)

    return distort


def draw_noise(recordings: Split, samples: int, split: str, seed: str) -> Waveform:
    """Cut noise from a background recording, shape [samples].

    Training gets the first 80 % of each recording, validation and test the rest.
    """
    recording = recordings.take(np.array([seeded_int("recording", seed) % len(recordings)]))
    rate, total = int(recording.table.rates[0]), int(recording.table.frames[0])
    low, high = (int(edge * total) for edge in STRETCHES["train" if split == "train" else "val"])
    length = min(-(-samples * rate // SAMPLE_RATE), high - low)
    start = low + seeded_int("start", seed) % (high - low - length + 1)
    crop = replace(recording.table, starts=np.array([start]), frames=np.array([max(length, 1)]))
    waveform, _ = replace(recording, table=crop).read(0)
    return np.resize(waveform, samples)


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Add noise so that the ratio of the powers of `waveform` and noise is `snr_db`.

    A mixture beyond full scale is attenuated as a whole, which keeps the ratio. If one of the two has no
    power, there is no ratio, and the waveform is returned unchanged.
    """
    signal_power, noise_power = (
        float(np.mean(np.square(part, dtype=np.float64))) for part in (waveform, noise)
    )
    if signal_power == 0.0 or noise_power == 0.0:
        return waveform
    scale = np.sqrt(signal_power / noise_power) * 10 ** (-snr_db / 20)
    mixture = waveform + np.asarray(scale * noise, dtype=np.float64)
    return np.asarray(mixture / max(1.0, float(np.abs(mixture).max())), dtype=np.float32)
