"""The rounds of an experiment: the director's schedule, with Flower's messages and strategies."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import replace
from typing import cast

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType
from flwr.common.logger import log
from flwr.serverapp import Grid

from superb_flower import messages
from superb_flower.answers import Report, ask, read_report
from superb_flower.clients import Clients
from superb_flower.errors import RunFailed
from superb_flower.output import Output, in_words
from superb_flower.privacy import counting_the_same, epsilon_of, private_strategy
from superb_flower.strategies import flower_strategy
from superb_ks.aggregator.early_stopping import EarlyStop
from superb_ks.aggregator.strategies.updates import UpdateRefused
from superb_ks.metrics import ACCURACY, Metrics, pooled
from superb_ks.run_files import BEST, LAST
from superb_ks.schedule import PERSONALISE, STOPPED_EARLY, TEST_BEST, TRAIN, VALIDATE, RoundSchedule
from superb_ks.settings import Settings
from superb_ks.types import Vector

Tasks = list[tuple[str, str]]
"""Name and function of the tasks of a round."""

Question = tuple[Message, list[str]]
"""A message to a client, and the names of the tasks that it asks for."""


class _Drawn:
    """A grid of those who were drawn: a strategy draws from all that it finds, and so asks them all."""

    def __init__(self, nodes: list[int]) -> None:
        self._nodes = nodes

    def get_node_ids(self) -> list[int]:
        """Return the nodes."""
        return self._nodes


class Rounds:
    """Runs the rounds of one experiment.

    In memory: the model, the best one, and the updates of a round.

    Args:
        grid: reaches the clients.
        clients: who takes part.
        text: of the experiment, for the clients.
        settings: the experiment's.
        output: receives records and models.
        fraction_evaluate: share of the clients with validation clips that validate each model: the same ones
            in all rounds, so that the curve compares models and not clients. Those with test clips all test.
    """

    def __init__(
        self,
        grid: Grid,
        clients: Clients,
        text: bytes,
        settings: Settings,
        output: Output,
        fraction_evaluate: float,
    ) -> None:
        self._grid, self._clients, self._text = grid, clients, text
        self._settings, self._output = settings, output
        self._schedule = RoundSchedule(
            settings.rounds, settings.fraction, settings.seed, settings.personalise
        )
        self._validation = RoundSchedule(settings.rounds, fraction_evaluate, settings.seed)
        drawn = len(self._schedule.trainers(clients.having("train"), 0))
        self._strategy = (
            private_strategy(settings.privacy, drawn, len(clients.having("train")))
            if settings.privacy
            else flower_strategy(settings.strategy)
        )
        self._best: tuple[float, Vector] | None = None
        self._lost: set[str] = set()
        self._early_stop = EarlyStop(settings.early_stopping)
        output.readers.append(self._early_stop.read)

    def run(self, model: Vector) -> None:
        """Train, validate and test as the schedule says.

        Args:
            model: the initial weights, float32 `[size]`.

        Raises:
            RunFailed: a task failed on a client, or fewer than `min_envoys` are left.
        """
        number, self._size = 0, model.size
        while number < self._schedule.total_rounds:
            model = self._round(number, model)
            self._output.model(LAST, model)
            self._stop_training_if_due(number)
            number += 1
        if self._best is None:  # nobody validated: the last one counts, as on the director
            self._output.model(BEST, model)

    def _stop_training_if_due(self, number: int) -> None:
        """Skip the training rounds that are left, if this one showed a reason to."""
        done = number + 1
        if told := self._early_stop.told(done, self._schedule.training_rounds):
            self._output.note(number, "aggregator", STOPPED_EARLY, told)
            self._schedule = replace(self._schedule, training_rounds=done)

    def _round(self, number: int, model: Vector) -> Vector:
        started = time.monotonic()
        tasks = [(task.name, task.function) for task in self._schedule.tasks(number)]
        training = any(name == TRAIN for name, _ in tasks)
        sent = self._best[1] if self._best and tasks[0][0] in (TEST_BEST, PERSONALISE) else model
        reports = self._answers(number, self._questions(number, sent, tasks))
        self._measure(number, reports, model)
        if training:
            model = self._aggregate(number, model, [each.update for each in reports if each.update])
        seconds = np.asarray(time.monotonic() - started)
        self._output.record(number, "aggregator", "round", {"seconds": seconds})
        return model

    def _who(self, number: int, task: str) -> list[str]:
        """Return who does a task in a round, of those that have clips for it."""
        if task == TRAIN:
            return self._schedule.trainers(self._clients.having("train"), number)
        if task == VALIDATE:
            return self._validation.trainers(self._clients.having("val"), 0)
        return self._clients.having("train" if task == PERSONALISE else "test")

    def _questions(self, number: int, model: Vector, tasks: Tasks) -> dict[str, Question]:
        """Return what each client is asked that has something to do, by its name, in the order of names."""
        own: dict[str, Tasks] = {}
        for task in tasks:
            for name in self._who(number, task[0]):
                own.setdefault(name, []).append(task)
        training = [name for name in own if any(task == TRAIN for task, _ in own[name])]
        self._training = len(training)
        if training:
            self._tell_strategy(number, model, training)
        questions, contents = {}, {}
        for name in sorted(own):
            text = json.dumps(own[name])
            if text not in contents:  # those who do the same share what is sent
                config = {"experiment": self._text, "round": number, "tasks": text}
                contents[text] = messages.request(model, config)
            kind = MessageType.TRAIN if name in training else MessageType.EVALUATE
            message = Message(contents[text], self._clients.nodes[name], kind)
            questions[name] = message, [task for task, _ in own[name]]
        return questions

    def _tell_strategy(self, number: int, model: Vector, names: list[str]) -> None:
        """Let the strategy note the round's model, and how many train: all of `names`, as they were drawn.

        Flower's strategies do so when they make a round's messages. Theirs are thrown away: they go to other
        clients, and do not say what the tasks are.
        """
        grid = cast(Grid, _Drawn([self._clients.nodes[name] for name in names]))
        self._strategy.configure_train(number + 1, messages.arrays_of(model), ConfigRecord(), grid)

    def _answers(self, number: int, questions: dict[str, Question]) -> list[Report]:
        """Return the reports that can be used, in the order of names; of others it is recorded why not."""
        failures, personal = self._settings.failures, self._schedule.is_personal(number)
        names = {node: name for name, node in self._clients.nodes.items()}
        reports = {}
        asked = [message for message, _ in questions.values()]
        for answer in ask(self._grid, asked, failures.round_timeout_seconds):
            name = names[answer.node]
            if answer.reply is None:
                if answer.failed and failures.on_task_error == "fail" and not personal:
                    raise RunFailed(f"{name}: {answer.fault}")
                self._output.note(number, name, "dropped", answer.fault)
                self._lost.add(name)
                continue
            self._lost.discard(name)
            try:
                report = read_report(
                    answer.reply, name, questions[name][1], self._size, self._clients.clips_of(name)
                )
            except UpdateRefused as refused:
                self._output.note(number, name, "refused", str(refused))
                continue
            for kind, words in report.notes:
                self._output.note(number, name, kind, words)
            reports[name] = report
        # Who was not asked counts as present: in a simulation few have something to do in each round.
        left = len(names) - len(self._lost)
        if left < failures.min_envoys and not personal:
            raise RunFailed(f"{left} of {len(names)} clients are left, min_envoys is {failures.min_envoys}")
        # A sum of floating-point numbers depends on their order.
        return [reports[name] for name in sorted(reports)]

    def _measure(self, number: int, reports: list[Report], model: Vector) -> None:
        """Record what the clients measured, and what all of them did together; keep the best model."""
        by_task: dict[str, dict[str, Metrics]] = {}
        for report in reports:
            for task, metrics in report.measured.items():
                if task == TRAIN:
                    metrics["bytes_up"] = np.asarray(float(model.nbytes))
                self._output.record(number, report.name, task, metrics)
                by_task.setdefault(task, {})[report.name] = metrics
        for task, of_all in by_task.items():
            if task != PERSONALISE:  # of each model its own
                together = pooled(of_all)
                self._output.record(number, "aggregator", task, together)
                if words := in_words(number, task, together):
                    log(logging.INFO, words)
                if task == VALIDATE:
                    self._mark_if_best(number, together, model)

    def _mark_if_best(self, number: int, validation: Metrics, model: Vector) -> None:
        score = float(validation.get(ACCURACY, -math.inf))
        if self._best is None or score > self._best[0]:
            self._best = score, model
            self._output.model(BEST, model)
            self._output.record(number, "aggregator", "best", {ACCURACY: np.asarray(score)})

    def _aggregate(self, number: int, model: Vector, updates: list[Message]) -> Vector:
        """Return the next model: the strategy's, or the same if nothing came that it could use."""
        private = self._settings.privacy is not None
        sent = counting_the_same(updates) if private else updates
        arrays, _ = self._strategy.aggregate_train(number + 1, sent)
        if private:
            spent = {"epsilon": np.asarray(epsilon_of(self._strategy))}
            self._output.record(number, "aggregator", "privacy", spent)
        if arrays is None:
            few = f"{len(updates)} of {self._training} updates came; with privacy all have to"
            told = few if private and updates else "no usable update came"
            self._output.note(number, "aggregator", "unchanged", told)
            return model
        return messages.vector_in(arrays)
