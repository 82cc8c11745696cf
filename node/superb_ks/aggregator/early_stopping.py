"""Whether an experiment has trained enough before all its rounds are done.

That follows from the records alone, so a resumed experiment goes on counting where the interrupted one was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from superb_ks.metrics import ACCURACY
from superb_ks.schedule import STOPPED_EARLY, VALIDATE
from superb_ks.stopping_settings import EarlyStopping

# A pooled accuracy is a weighted mean, and may lie a rounding error below the share of clips that it is.
_ROUNDING = 1e-9


class EarlyStop:
    """Reads an experiment's records in their order, and says when it has trained enough.

    Args:
        rule: the experiment's.
        records: of the rounds that are complete already.

    Attributes:
        stopped_in: the round, from 0, in which training was ended early; None if it was not.
    """

    def __init__(self, rule: EarlyStopping, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._rule = rule
        self.stopped_in: int | None = None
        self._highest = 0.0
        self._improved: float | None = None  # the last accuracy that was an improvement
        self._waited = 0
        self._kept_in: int | None = None  # the last round that left the model as it was
        self.read(records)

    def read(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take note of further records; only the aggregator's count."""
        for record in records:
            if record["metric_origin"] != "aggregator":
                continue
            task, number = record["task_name"], record["round"]
            if task == STOPPED_EARLY:
                self.stopped_in = number
            elif task == "unchanged":
                self._kept_in = number
            elif (task, record["metric_name"]) == (VALIDATE, ACCURACY) and self._kept_in != number - 1:
                self._judge(record["metric_value"])

    def _judge(self, accuracy: float) -> None:
        self._highest = max(self._highest, accuracy)
        if self._improved is None or accuracy > self._improved + self._rule.min_delta:
            self._improved, self._waited = accuracy, 0
        else:
            self._waited += 1

    @property
    def reason(self) -> str:
        """Why to stop now, in words; empty if there is no reason."""
        target, patience = self._rule.target, self._rule.patience
        if target is not None and self._highest >= target - _ROUNDING:
            return f"validation accuracy {self._highest:.4f}, target {target:g}"
        if patience is not None and self._waited >= patience:
            by = f" by more than {self._rule.min_delta:g}" if self._rule.min_delta else ""
            return f"validation accuracy {self._improved:.4f} not exceeded{by} in {self._waited} rounds"
        return ""

    def told(self, done: int, planned: int) -> str:
        """Say why training ends after `done` of `planned` rounds; empty if it does not, or all are done."""
        reason = self.reason if done < planned else ""
        return f"{reason}; {done} of {planned} rounds trained" if reason else ""
