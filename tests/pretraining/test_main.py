"""The command line refuses what cannot be spoken or trained, with one line."""

from __future__ import annotations

import pytest

from pretraining.__main__ import options
from pretraining.training import Plan


def test_the_defaults_are_the_published_ones() -> None:
    plan, chosen = Plan(), options([])
    assert (chosen.seed, chosen.clips, chosen.steps) == (plan.seed, plan.clips, plan.steps)
    assert options(["--clips", "100", "--steps", "1"]).clips == 100


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [("--clips", "0", 100), ("--clips", "99", 100), ("--clips", "many", 100), ("--steps", "0", 1),
     ("--steps", "1.5", 1), ("--seed", "-1", 0)],
)  # fmt: skip
def test_an_illegal_number_is_named_with_its_option(
    option: str, value: str, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options([f"{option}={value}"])
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith(f"error: argument {option}: {value!r}; legal: a whole number from {least}")
