"""When training ends before all rounds are done. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass

from superb_ks.checked import COUNT, FRACTION, SHARE, Checked, changes, checked, or_none


@dataclass(frozen=True, kw_only=True)
class EarlyStopping(Checked):
    """When the director skips the training rounds that are left; the best model is tested all the same.

    What counts is the validation accuracy over everybody's clips, of the initial model and of every
    aggregate. A round validates a model and trains the next one, so one round is trained after the model that
    decides; that last aggregate is validated too. The learning-rate schedule stays that of all `rounds`, so a
    run that stops early ends at a higher rate than one of fewer `rounds`.

    Attributes:
        target: accuracy that ends training once a model reaches it; None: no target.
        patience: rounds in a row without an improvement, which end training; None: any number. A round that
            left the model as it was is not counted.
        min_delta: by how much an accuracy must exceed the last improvement to be one.
    """

    target: float | None = checked(or_none(FRACTION), None)
    patience: int | None = checked(or_none(COUNT), None)
    min_delta: float = checked(SHARE, 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(not self.min_delta or self.patience is not None, "min_delta", "0 without patience")

    def __repr__(self) -> str:
        return changes(self)
