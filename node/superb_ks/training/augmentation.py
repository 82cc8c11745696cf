"""Another take of a clip at each access: played faster or slower, or moved in time."""

from __future__ import annotations

import numpy as np

from superb_ks.model.spec import SAMPLING_RATE
from superb_ks.recipe import CompleteRecipe


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play a waveform faster (factor above 1) or slower, pitch included, by linear interpolation.

    Args:
        waveform: float32, shape [n_samples].
        factor: the speed; the result has about n_samples / factor samples.
    """
    positions = np.arange(0, len(waveform) - 1, factor)
    return np.interp(positions, np.arange(len(waveform)), waveform).astype(np.float32)


def shift(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Move a waveform later (samples above 0) or earlier in time; its length stays.

    What moves in is the clip's own edge, mirrored: as a rule the noise of its room, where zeros would be a
    silence that no recording has.

    Args:
        waveform: float32, shape [n_samples].
        samples: by how many samples; limited to n_samples - 1 either way.
    """
    samples = max(1 - len(waveform), min(samples, len(waveform) - 1))
    if samples > 0:
        return np.pad(waveform, (samples, 0), mode="reflect")[: len(waveform)]
    if samples < 0:
        return np.pad(waveform, (0, -samples), mode="reflect")[-samples:]
    return waveform


class Augmentation:
    """What is done to a training clip at each access, drawn each time; a second of what is longer.

    How loud a clip is is not changed: the feature extractor gives every clip the same variance.
    """

    def __init__(
        self,
        seed: int,
        speed_change: float = 0.0,
        shift_seconds: float = 0.0,
    ) -> None:
        """Draw from a seed.

        Args:
            seed: decides all draws, in the order of the calls.
            speed_change: the speed is drawn evenly from 1 - speed_change to 1 + speed_change.
            shift_seconds: a clip of up to a second is moved by so much at most, later or earlier.
        """
        self.speed_change = speed_change
        self.shift_seconds = shift_seconds
        self._draw = np.random.default_rng(seed)

    @classmethod
    def of(cls, recipe: CompleteRecipe, seed: int) -> Augmentation:
        """Return what a recipe asks for."""
        return cls(seed, recipe.speed_change, recipe.shift_seconds)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Return a waveform of at most a second; the one that is given stays as it is."""
        if self.speed_change:
            waveform = change_speed(waveform, 1 + self._draw.uniform(-self.speed_change, self.speed_change))
        if len(waveform) > SAMPLING_RATE:  # the crop is a shift already
            start = int(self._draw.integers(len(waveform) - SAMPLING_RATE + 1))
            waveform = waveform[start : start + SAMPLING_RATE]
        elif self.shift_seconds:
            limit = round(self.shift_seconds * SAMPLING_RATE)
            waveform = shift(waveform, int(self._draw.integers(-limit, limit + 1)))
        return waveform
