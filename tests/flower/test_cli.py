"""Flower's command line, as the notebook calls it."""

import pytest

from demo.ports import free_ports
from superb_node.flower.cli import SUPERLINK, FlowerCli, FlowerRefused


def test_answers_are_read_where_colours_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook's kernel."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("CLICOLOR", "1")
    cli = FlowerCli("127.0.0.1", free_ports(1)[0])
    with pytest.raises(FlowerRefused) as refused:
        cli("list", SUPERLINK)
    assert "\x1b" not in str(refused.value)
    assert '"success"' not in str(refused.value), "its JSON was read"
