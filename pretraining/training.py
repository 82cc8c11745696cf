"""The pretraining: two losses, one schedule, a curve; the same weights from the same seed on one machine."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
from torch import multiprocessing
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from tqdm import tqdm
from transformers import Wav2Vec2Model

from pretraining.augmentation import Augmenter, Batch, frame_centres
from pretraining.corpus import SpokenCorpus
from pretraining.network import PretrainingNetwork, pair_loss, phoneme_loss, share_right
from superb_ks.model.architecture import ARCHITECTURE
from superb_ks.training.trainer import autocast_dtype

PROCESSES = 2
"""How many share a batch, with one thread each: a third faster than one with two. Fixed, because which clips
meet in a batch, and the order in which gradients are added, are part of the result."""

PATIENCE = 600.0  # seconds that one process waits for the other


@dataclass(frozen=True)
class Plan:
    """How the tiny model is pretrained. The defaults are those of the published one.

    Attributes:
        clips: spoken for it.
        invented: invented words to try, besides those in words.txt.
        phrases: phrases of two words to try.
        steps: of the optimizer.
        batch_size: clips in a step.
        learning_rate: the peak of AdamW's rate.
        warmup: share of the steps in which the rate rises; then it falls as half a cosine.
        settling: share of the steps after which noise and babble have their full strength.
        pair_weight: of the pairs' loss relative to the phonemes'; it begins with the rate's fall.
        weight_decay: AdamW's.
        seed: of texts, voices, augmentation and weights.

    """

    clips: int = 72_000
    invented: int = 4_000
    phrases: int = 1_500
    steps: int = 21_000
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: float = 0.05
    settling: float = 0.3
    pair_weight: float = 0.3
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class CurvePoint:
    """Means over the steps since the last point: both losses, and the share of voiced frames right."""

    step: int
    phoneme_loss: float
    pair_loss: float
    right: float


POINTS = 20  # of the curve
RESULT = "result.pt"


def pretrain(corpus: SpokenCorpus, plan: Plan) -> tuple[Wav2Vec2Model, list[CurvePoint]]:
    """Train the tiny model.

    Args:
        corpus: what was spoken.
        plan: how.

    Returns:
        the model without the two heads, in evaluation mode, and the curve.

    """
    network = build(corpus, plan)
    size = sum(parameter.numel() for parameter in network.parameters())
    exchange = torch.zeros(2, PROCESSES, size).share_memory_()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with tempfile.TemporaryDirectory(prefix="pretraining_") as folder:
        corpus.save(Path(folder))
        # Daemons end with this process, also when it is told to end.
        multiprocessing.spawn(work, (Path(folder), plan, exchange, barrier), nprocs=PROCESSES, daemon=True)
        result = torch.load(Path(folder) / RESULT)
    network.load_state_dict(result["network"])
    return network.encoder.eval(), [CurvePoint(*point) for point in result["curve"]]


def build(corpus: SpokenCorpus, plan: Plan) -> PretrainingNetwork:
    """Draw the initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(plan.seed)
        return PretrainingNetwork(ARCHITECTURE, len(corpus.names), corpus.n_pairs)


def work(rank: int, folder: Path, plan: Plan, exchange: torch.Tensor, barrier: Barrier) -> None:
    """Do one process's share; the first of them writes what came out."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    corpus = SpokenCorpus.load(folder)
    network = build(corpus, plan)
    torch.manual_seed(plan.seed * PROCESSES + rank)  # of dropout, in a process of our own
    curve = run(network, corpus, plan, rank, Team(rank, exchange, barrier))
    if rank == 0:
        points = [astuple(point) for point in curve]
        torch.save({"network": network.state_dict(), "curve": points}, folder / RESULT)


class Team:
    """Averages gradients over the processes, through memory that they share."""

    def __init__(self, rank: int, exchange: torch.Tensor, barrier: Barrier) -> None:
        """Join.

        Args:
            rank: this process's number.
            exchange: shared, shape [2, PROCESSES, n_parameters]: even steps use the first half, odd ones the
                second, so that nobody overwrites what another still reads.
            barrier: where they meet once a step.

        """
        self._rank, self._exchange, self._barrier = rank, exchange, barrier
        self._turn = 0

    def average(self, parameters: list[torch.nn.Parameter]) -> None:
        """Replace the gradients of all processes by their mean."""
        shares = self._exchange[self._turn % 2]
        shares[self._rank] = torch.cat([as_gradient(p).flatten() for p in parameters])
        self._barrier.wait(PATIENCE)
        mean = shares.mean(0)
        for parameter, gradient in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)
        self._turn += 1


def as_gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    """Return a parameter's gradient, zero where it has none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def run(
    network: PretrainingNetwork, corpus: SpokenCorpus, plan: Plan, rank: int, team: Team
) -> list[CurvePoint]:
    """Take all steps and change the network in place; the curve is of this process's clips."""
    centres = frame_centres(ARCHITECTURE["conv_kernel"], ARCHITECTURE["conv_stride"])
    augmenter = Augmenter(corpus, centres, plan.seed * PROCESSES + rank)
    parameters = list(network.parameters())
    optimizer = AdamW(parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.98))
    batches = shuffled(len(corpus), plan.batch_size, plan.seed)
    every = math.ceil(plan.steps / POINTS)
    curve: list[CurvePoint] = []
    since: list[tuple[float, float, float]] = []
    network.train()
    bar = tqdm(range(plan.steps), desc="pretraining", unit="step", disable=True if rank else None)
    for step in bar:
        done = step / plan.steps
        optimizer.param_groups[0]["lr"] = plan.learning_rate * rate_factor(done, plan.warmup)
        batch = augmenter.batch(next(batches)[rank::PROCESSES], min(1.0, done / plan.settling))
        pair_weight = plan.pair_weight * min(1.0, max(0.0, (done - plan.warmup) / 0.1))
        since.append(learn(network, batch, pair_weight))
        team.average(parameters)
        if torch.isfinite(clip_grad_norm_(parameters, 1.0)):
            optimizer.step()
        if (step + 1) % every == 0 or step + 1 == plan.steps:
            curve.append(CurvePoint(step + 1, *np.mean(since, axis=0).tolist()))
            bar.set_postfix_str(f"{curve[-1].right:.0%} of voiced frames")
            since.clear()
    return curve


def learn(network: PretrainingNetwork, batch: Batch, pair_weight: float) -> tuple[float, float, float]:
    """Compute this process's gradients; return both losses and the share of voiced frames that were right."""
    waveforms, phonemes, pairs = batch
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast_dtype("auto", "cpu") is not None):
        phoneme_scores, pair_scores = network(waveforms)
    losses = phoneme_loss(phoneme_scores, phonemes), pair_loss(pair_scores, pairs)
    network.zero_grad(set_to_none=True)
    (losses[0] + pair_weight * losses[1]).backward()
    return losses[0].item(), losses[1].item(), share_right(phoneme_scores, phonemes)


def shuffled(clips: int, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield the numbers of a batch's clips for ever: every clip once, then again in another order."""
    draw = torch.Generator().manual_seed(seed)
    batch_size = min(batch_size, clips)
    while True:
        order = torch.randperm(clips, generator=draw)
        yield from order[: clips // batch_size * batch_size].split(batch_size)


def rate_factor(done: float, warmup: float) -> float:
    """Return the share of the peak rate after a share `done` of the steps."""
    return min(1.0, (done + 1e-3) / warmup) * 0.5 * (1 + math.cos(math.pi * done))
