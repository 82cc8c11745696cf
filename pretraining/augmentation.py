"""From clean speech to a batch as strangers' phones would have recorded it, a whole batch at a time.

Every draw comes from one generator, in a fixed order: the same seed gives the same batches.
"""

import math

import torch

from pretraining.corpus import SpokenCorpus
from pretraining.speaking import LABEL_STEP
from superb_node.audio import SAMPLE_RATE

SPEED = (0.75, 1.3)  # of playing: pitch, formants and length change together, as between a child and a man
SNR_RANGE = (0.0, 40.0)  # dB
SILENT = 0.05  # of the clips have no speech, only what is around it
BABBLE = 0.25  # of the clips have other speakers behind them
KNOTS = (60.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)  # Hz, of the equaliser

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Augmenter:
    """Draws batches from a spoken corpus."""

    def __init__(self, corpus: SpokenCorpus, frame_centres: torch.Tensor, seed: int) -> None:
        """Prepare.

        Args:
            corpus: what was spoken.
            frame_centres: sample at the centre of each of the model's frames in a second, shape [n_frames].
            seed: of all draws.

        """
        self._samples = torch.from_numpy(corpus.samples)
        self._labels = torch.from_numpy(corpus.labels)
        self._starts = torch.from_numpy(corpus.starts)
        self._pairs = torch.from_numpy(corpus.pairs)
        self._frames = frame_centres
        self._draw = torch.Generator().manual_seed(seed)
        self._frequencies = torch.fft.rfftfreq(SAMPLE_RATE, 1 / SAMPLE_RATE)

    def uniform(self, count: int, low: float, high: float) -> torch.Tensor:
        """Return even draws, shape [count, 1]."""
        return low + (high - low) * torch.rand(count, 1, generator=self._draw)

    def normal(self, *shape: int) -> torch.Tensor:
        """Return Gaussian draws."""
        return torch.randn(*shape, generator=self._draw)

    def batch(self, clips: torch.Tensor, strength: float = 1.0) -> Batch:
        """Record some clips.

        Args:
            clips: their numbers, shape [batch].
            strength: 0 for quiet recordings to begin with, up to 1 for all that may happen.

        Returns:
            waveforms of mean 0 and variance 1, float32, shape [batch, 16000]; phoneme ids, int64, shape
            [batch, n_frames]; ids of phoneme pairs, int64, shape [batch, most], filled up with -1.

        """
        speech, phonemes = self.place(clips)
        silent = self.uniform(len(clips), 0, 1) < SILENT
        speech = torch.where(silent, torch.zeros(()), speech)
        phonemes = torch.where(silent, torch.zeros((), dtype=torch.long), phonemes)
        pairs = torch.where(silent, torch.full((), -1), self._pairs[clips].long())
        heard = self.filter(speech + strength * self.babble(speech))
        noisy = self.distort(heard + self.noise(heard, silent, strength))
        noisy = noisy - noisy.mean(1, keepdim=True)
        return noisy / (noisy.std(1, keepdim=True) + 1e-5), phonemes, pairs

    def place(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Play each clip at some speed somewhere in a second of silence; a longer one is cut at its ends."""
        first = self._starts[clips][:, None]
        labels = self._starts[clips + 1][:, None] - first
        speed = self.uniform(len(clips), *SPEED)
        room = SAMPLE_RATE - labels * LABEL_STEP / speed
        start = torch.where(room > 0, room, room * 0.5) * self.uniform(len(clips), 0, 1)
        position = (torch.arange(SAMPLE_RATE)[None] - start) * speed
        limit = labels * LABEL_STEP - 2
        inside = (position >= 0) & (position < limit)
        whole = position.clamp(min=0).minimum(limit.float()).long()
        index = (first * LABEL_STEP + whole).clamp(max=len(self._samples) - 2)
        low, high = self._samples[index].float(), self._samples[index + 1].float()
        speech = (low + (high - low) * (position - whole)) * inside / 32768
        at = ((self._frames[None] - start) * speed / LABEL_STEP).floor().long()
        voiced = (at >= 0) & (at < labels)
        ids = self._labels[(first + at.clamp(min=0)).clamp(max=len(self._labels) - 1)].long()
        return speech, ids * voiced

    def babble(self, speech: torch.Tensor) -> torch.Tensor:
        """Return a mixture of the batch's other clips for some clips, 3 to 30 dB below them."""
        others = speech.roll(1, 0) + speech.roll(2, 0).flip(1) + speech.roll(3, 0)
        gain = 10 ** (-self.uniform(len(speech), 3, 30) / 20)
        gain = gain * (self.uniform(len(speech), 0, 1) < BABBLE)
        return others * gain * level(speech) / (level(others) + 1e-9)

    def filter(self, sound: torch.Tensor) -> torch.Tensor:
        """Apply a random equaliser, band limits and an echo to each clip."""
        count = len(sound)
        return torch.fft.irfft(torch.fft.rfft(sound) * self.equaliser(count) * self.echo(count), SAMPLE_RATE)

    def equaliser(self, count: int) -> torch.Tensor:
        """Return gains, shape [count, 8001]: a smooth curve of some dB, with the ends of the band cut off."""
        knots = torch.tensor(KNOTS).log()
        at = self._frequencies.clamp(KNOTS[0], KNOTS[-1]).log()
        right = torch.bucketize(at, knots).clamp(1, len(KNOTS) - 1)
        share = (at - knots[right - 1]) / (knots[right] - knots[right - 1])
        decibels = self.normal(count, len(KNOTS)) * self.uniform(count, 0, 8)
        curve = torch.lerp(decibels[:, right - 1], decibels[:, right], share)
        low, high = self.uniform(count, 20, 250), self.uniform(count, 3000, 9000)
        octaves = (low / (self._frequencies + 1)).log2().clamp(min=0) + (
            self._frequencies / high
        ).log2().clamp(min=0)
        return 10 ** ((curve - 18 * octaves).clamp(min=-80) / 20)

    def echo(self, count: int) -> torch.Tensor:
        """Return transfer functions of rooms, shape [count, 8001]: decays of 60 dB in 50 to 500 ms."""
        time = torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
        decay = torch.exp(-6.9 * time / self.uniform(count, 0.05, 0.5)) * (time > 0.003)
        impulse = self.uniform(count, 0, 0.08) * decay * self.normal(count, len(time))
        impulse[:, 0] = 1.0
        return torch.fft.rfft(impulse, SAMPLE_RATE)

    def noise(self, heard: torch.Tensor, silent: torch.Tensor, strength: float) -> torch.Tensor:
        """Return coloured noise for each clip, its level given by a signal-to-noise ratio."""
        count = len(heard)
        slope = self.uniform(count, -0.5, 2.5)
        colour = (self._frequencies[None].clamp(min=40) / 1000) ** (-slope / 2) * self.equaliser(count)
        noise = torch.fft.irfft(torch.fft.rfft(self.normal(count, SAMPLE_RATE)) * colour, SAMPLE_RATE)
        wanted = level(heard) * 10 ** (-self.uniform(count, *SNR_RANGE).clamp(min=20 * (1 - strength)) / 20)
        return noise / (level(noise) + 1e-9) * torch.where(silent, torch.full((), 0.01), wanted)

    def distort(self, sound: torch.Tensor) -> torch.Tensor:
        """Drive some clips into a soft limiter."""
        drive = torch.where(
            self.uniform(len(sound), 0, 1) < 0.2, self.uniform(len(sound), 1, 6), torch.zeros(())
        )
        peak = sound.abs().amax(1, keepdim=True) + 1e-9
        limited = torch.tanh(sound / peak * drive) * peak / drive.clamp(min=1e-3)
        return torch.where(drive > 0, limited, sound)


def level(sound: torch.Tensor) -> torch.Tensor:
    """Root mean square, shape [batch, 1]."""
    return sound.square().mean(1, keepdim=True).sqrt()


def frame_centres(kernels: tuple[int, ...], strides: tuple[int, ...]) -> torch.Tensor:
    """Return the sample at the centre of what each frame of one second sees, shape [n_frames]."""
    field, hop, count = 1, 1, SAMPLE_RATE
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
        count = (count - kernel) // stride + 1
    return math.floor(field / 2) + hop * torch.arange(count)
