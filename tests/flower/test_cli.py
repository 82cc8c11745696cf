"""Flower's command line, as the notebook calls it."""

from pathlib import Path

import pytest
import tomllib  # type: ignore[import-not-found]

from demo.ports import free_ports
from superb_node.flower.cli import SUPERLINK, FlowerCli, FlowerRefused, superlink_config, toml_value


def test_answers_are_read_where_colours_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook's kernel."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("CLICOLOR", "1")
    cli = FlowerCli("127.0.0.1", free_ports(1)[0])
    with pytest.raises(FlowerRefused) as refused:
        cli("list", SUPERLINK)
    assert "\x1b" not in str(refused.value)
    assert '"success"' not in str(refused.value), "its JSON was read"


def test_without_flower_the_command_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the start scripts say it (`tests/node/flower/test_refusals.py`)."""
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(FlowerRefused, match="^Flower is not installed for .*: pip install flwr") as refused:
        FlowerCli("127.0.0.1", 50050)("list", SUPERLINK)
    assert not refused.value.installed


@pytest.mark.parametrize(
    "value", ["/a b/Grüße 語 🎙", '/it\'s "x"\\', "/\t\n\x7f\x01", "", 0.5, 1e-06, 1e22, 200, True, False]
)
def test_any_value_reaches_the_app(value: str | float | bool) -> None:
    (read,) = tomllib.loads(f"key = {toml_value(value)}").values()
    assert (type(read), read) == (type(value), value)


def test_a_superlink_is_known_by_a_certificate_of_any_path() -> None:
    root = Path("/certs 🎙/root_certificate.pem")
    assert tomllib.loads(superlink_config("[::1]:50050", root))["superlink"] == {
        "default": SUPERLINK,
        SUPERLINK: {"address": "[::1]:50050", "root-certificates": str(root)},
    }
    plain = tomllib.loads(superlink_config("localhost:50050"))["superlink"][SUPERLINK]
    assert plain == {"address": "localhost:50050", "insecure": True}
