"""What an experiment has reported so far, put in order: who measured what, in which round."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superb_ks.metrics import MAX_POOLED
from superb_ks.schedule import (
    PERSONALISE,
    STOPPED_EARLY,
    TEST_BEST,
    TEST_INITIAL,
    TRAIN,
    VALIDATE,
    RoundSchedule,
)
from superb_node.reports import QUEUED
from superb_node.text import safe_lines

AGGREGATOR = "aggregator"
"""The origin of pooled values."""

EVENTS = {
    "failure": "ended the experiment",
    "dropped": "dropped out",
    "returned": "came back",
    "refused": "sent an update that was refused",
    "late": "was late",
    "capped": "counts for less than it claims",
    "ignored": "sent metrics that were left out",
    "waiting": "waits for approval of its owner",
    "unchanged": "kept the model as it was",
    STOPPED_EARLY: "ended training early",
}
"""Tasks that are none: what happened to a collaborator, in the words of `History.events`."""

Record = Mapping[str, Any]

# A traceback as Python prints it, or with all of it indented: frames, which are indented more, and the error.
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\):\n"
    r"(?P<frames>(?P<indent> *?)  File .*\n(?:(?P=indent) .*\n)*)(?P=indent)"
)
_FRAME = re.compile(r"line (\d+), in (\S+)")
_CELL = re.compile(r"confusion\[(\d+),(\d+)\]")


@dataclass(frozen=True)
class Score:
    """An accuracy as what it is: clips classified correctly, of clips scored."""

    correct: int
    clips: int

    @property
    def accuracy(self) -> float:
        """Share of the clips that were classified correctly, in [0, 1]."""
        return self.correct / self.clips

    def __str__(self) -> str:
        """Return the accuracy in percent with the counts behind it."""
        if not self.clips:
            return "no clips to score"
        return f"{self.accuracy:.1%} ({self.correct:,} of {self.clips:,} clips)"


@dataclass(frozen=True)
class RoundResult:
    """One training round: `validation` scores the model that the round's aggregation made.

    `train_loss` is None where no envoy has sent an update, and the round kept the model as it was.
    `epsilon` is what all rounds up to this one have spent, None without differential privacy.
    """

    round: int
    train_loss: float | None
    validation: Score
    validation_loss: float
    seconds: float
    epsilon: float | None = None


class History:
    """The records of one experiment (see docs/design.md), by task, metric, round and origin.

    Training rounds count from 1 here, as people do. OpenFL's round `r` (from 0) validates what training
    round `r` made and then trains round `r + 1`.

    Args:
        rounds: training rounds of the experiment.
        envoys: names of the envoys that take part, in the order in which they are shown.
        personalise: whether the experiment personalises; noticed by itself once an envoy reports it.

    Attributes:
        rounds: training rounds; fewer than those that were planned once training has ended early.
        schedule: of so many rounds.
        stopped_early: why training ended before all rounds were done, in words; empty if it did not.
        waits_behind: behind which experiments it waits for its turn, in words; empty if it does not.
        experiment: name by which the director knows it; empty if nobody has said it.
        events: who dropped out, came back, was refused or failed, in words, in order.
    """

    def __init__(self, rounds: int, envoys: Iterable[str], personalise: bool = False) -> None:
        self.rounds = rounds
        self.envoys = list(envoys)
        self.schedule = RoundSchedule(rounds, personalise=personalise)
        self.stopped_early = ""
        self.waits_behind = ""
        self.experiment = ""
        self.events: list[str] = []
        self._values: dict[tuple[str, str, int, str], float] = {}

    def add(self, record: Record) -> None:
        """Take in one record; a value that no aggregator reports is an event, and is left out."""
        task, metric, origin = record["task_name"], record["metric_name"], record["metric_origin"]
        value = float(record["metric_value"])
        # It has begun if anything else is told, also where the link was cut when the director said so.
        self.waits_behind = safe_lines(metric) if task == QUEUED else ""
        if task == QUEUED:
            return
        if task in EVENTS:
            self.events.append(event_in_words(record))
        if task == STOPPED_EARLY and 1 <= (done := int(record["round"]) + 1) < self.rounds:
            self.rounds, self.schedule = done, replace(self.schedule, training_rounds=done)
            self.stopped_early = safe_lines(metric)
        if task == PERSONALISE:
            self.schedule = replace(self.schedule, personalise=True)
        if not abs(value) <= MAX_POOLED:  # a NaN is not
            self.events.append(safe_lines(f"{origin} reported {value} as {metric} of {task}"))
            return
        self._values[task, metric, int(record["round"]), origin] = value

    def value(self, task: str, metric: str, openfl_round: int, origin: str = AGGREGATOR) -> float | None:
        """Return what `origin` reported in a round (from 0), or None if it has not."""
        return self._values.get((task, metric, openfl_round, origin))

    def score(self, task: str, openfl_round: int, origin: str = AGGREGATOR) -> Score | None:
        """Return the exact score that `origin` measured, or the pooled one.

        Records arrive as 32-bit floats, and the aggregator reports at the end of a round what its
        envoys reported at the beginning. Counting clips solves both.
        """
        accuracy, clips = (self.value(task, name, openfl_round, origin) for name in ("accuracy", "clips"))
        if accuracy is not None and clips is not None and clips >= 1:
            return Score(round(accuracy * clips), round(clips))
        if origin != AGGREGATOR or not self.envoys:
            return None
        scores = [self.score(task, openfl_round, envoy) for envoy in self.envoys]
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            return None
        return Score(sum(score.correct for score in known), sum(score.clips for score in known))

    def pooled_loss(self, task: str, openfl_round: int) -> float | None:
        """Return the loss over everybody's clips, as soon as every envoy has reported its own.

        It is None also if there are no clips.
        """
        pooled = self.value(task, "loss", openfl_round)
        if pooled is not None or not self.envoys:
            return pooled
        losses = [self.value(task, "loss", openfl_round, envoy) for envoy in self.envoys]
        clips = [self.value(task, "clips", openfl_round, envoy) for envoy in self.envoys]
        if None in losses or None in clips:
            return None
        weights = np.array(clips, float)
        return float(np.average(np.array(losses, float), weights=weights)) if weights.sum() >= 1 else None

    def series(self, task: str, metric: str, origin: str) -> tuple[list[int], list[float]]:
        """Return OpenFL rounds and the values that `origin` reported in them, in order."""
        found = sorted(
            (r, v) for (t, m, r, o), v in self._values.items() if (t, m, o) == (task, metric, origin)
        )
        return [r for r, _ in found], [v for _, v in found]

    def reported(self, task: str, openfl_round: int) -> int:
        """Return how many envoys have nothing more to say on a task of a round.

        That is all of them once the round is closed: the aggregation no longer waits for one that left.
        """
        if self.value("round", "seconds", openfl_round) is not None:
            return len(self.envoys)
        reports = (self.value(task, "clips", openfl_round, name) for name in self.envoys)
        return sum(clips is not None for clips in reports)

    @property
    def initial_validation(self) -> Score | None:
        """Pooled validation score before any training."""
        return self.score(VALIDATE, 0)

    @property
    def initial_test(self) -> Score | None:
        """Pooled test score before any training."""
        return self.score(TEST_INITIAL, 0)

    @property
    def test(self) -> Score | None:
        """Pooled test score of the best model."""
        return self.score(TEST_BEST, self.rounds + 1)

    def round_result(self, number: int) -> RoundResult | None:
        """Return training round `number`, from 1, or None while its model is not validated yet."""
        loss, score = self.pooled_loss(TRAIN, number - 1), self.score(VALIDATE, number)
        validation_loss, seconds = (
            self.pooled_loss(VALIDATE, number),
            self.value("round", "seconds", number - 1),
        )
        if score is None or validation_loss is None or seconds is None:
            return None
        return RoundResult(number, loss, score, validation_loss, seconds, self.epsilon(number))

    def epsilon(self, number: int) -> float | None:
        """Return the epsilon that is spent after training round `number`, or None if no round has spent any.

        A round that left the model as it was has spent nothing.
        """
        spent = (self.value("privacy", "epsilon", done) for done in range(number - 1, -1, -1))
        return next((value for value in spent if value is not None), None)  # the newest: it never falls

    def results(self) -> list[RoundResult]:
        """Return the training rounds that are finished and validated, in order."""
        return [result for n in range(1, self.rounds + 1) if (result := self.round_result(n)) is not None]

    @property
    def best_round(self) -> int:
        """Training round whose model is the best so far, 0 for the initial one; the earliest of equals."""
        noted = [number for (task, _, number, _) in self._values if task == "best"]
        if noted:  # by the aggregator
            return max(noted)
        scores = [self.score(VALIDATE, number) for number in range(self.rounds + 1)]
        known = {number: score.accuracy for number, score in enumerate(scores) if score is not None}
        return max(known, key=lambda number: known[number], default=0)

    def confusion(self, n_classes: int) -> NDArray[np.int64]:
        """Return the best model's pooled confusion matrix on the test clips, true classes in rows."""
        matrix = np.zeros((n_classes, n_classes), dtype=np.int64)
        for (task, metric, _, origin), count in self._values.items():
            if task == TEST_BEST and origin == AGGREGATOR and (cell := _CELL.fullmatch(metric)):
                row, column = int(cell[1]), int(cell[2])
                if row < n_classes and column < n_classes:
                    matrix[row, column] = round(count)
        return matrix

    def bytes_up(self) -> int | None:
        """Return the bytes of one envoy's update in a round (the largest seen), or None before the first."""
        seen = self._bytes_up()
        return int(max(seen.values())) if seen else None

    def bytes_sent(self) -> float | None:
        """Return the bytes that an envoy which trained has sent in all rounds, on average; None before."""
        seen = self._bytes_up()
        return sum(seen.values()) / len({envoy for _, envoy in seen}) if seen else None

    def _bytes_up(self) -> dict[tuple[int, str], float]:
        """Return the bytes of each update, by round and envoy."""
        return {
            (number, envoy): value
            for (task, metric, number, envoy), value in self._values.items()
            if (task, metric) == (TRAIN, "bytes_up")
        }


def event_in_words(record: Record) -> str:
    """Return what a record of one of `EVENTS` says, safe to print."""
    what = EVENTS[record["task_name"]]
    return safe_lines(f"{record['metric_origin']} {what}: {without_frames(record['metric_name'])}")


def history_of(records: Iterable[Record], rounds: int, envoys: Sequence[str]) -> History:
    """Return the history of records that are all there."""
    history = History(rounds, envoys)
    for record in records:
        history.add(record)
    return history


def without_frames(reason: str) -> str:
    """Shorten a traceback in a text to its error, and where in which function that arose."""

    def place(found: re.Match[str]) -> str:
        frames = _FRAME.findall(found["frames"])
        return "in {1}, line {0}: ".format(*frames[-1]) if frames else ""

    return _TRACEBACK.sub(place, reason)
