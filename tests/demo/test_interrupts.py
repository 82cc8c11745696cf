from __future__ import annotations

import signal

import pytest

from demo.interrupts import SIGNALS, Interrupted, held_back, ignored, raise_interrupted


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_ends_in_the_exit_code_that_a_shell_expects(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as interrupted, raise_interrupted():
        signal.raise_signal(number)
    assert interrupted.value.exit_code == 128 + number
    assert signal.getsignal(number) == before


def test_a_held_back_signal_comes_after_the_block() -> None:
    done: list[str] = []

    def block() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            done.append("block")
        done.append("never")

    with pytest.raises(Interrupted), raise_interrupted():
        block()
    assert done == ["block"]


def test_a_held_back_signal_is_not_lost_when_the_block_fails() -> None:

    def block() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            raise ValueError

    with pytest.raises(Interrupted), raise_interrupted():
        block()


def test_cleaning_up_cannot_be_interrupted() -> None:
    with raise_interrupted(), ignored():
        signal.raise_signal(signal.SIGINT)
