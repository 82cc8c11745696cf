"""What the log of a run says of its recipe, without any client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict
from flwr.common.config import get_project_config
from superb_flower import server_app
from superb_flower.clients import Clients

from superb_ks.run_files import CARDS, FAILED, FINISHED, STATUS
from superb_ks.settings import SUPERB_LABELS
from tests.flower.conftest import ROOT

# A run's process ends with its records open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Reached(Exception):
    """The rounds would begin."""


def no_rounds(*_: Any) -> None:
    raise Reached


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run logs until its rounds begin; one client is there."""
    told: list[str] = []
    clients = Clients({"env_one": 1}, {"env_one": {"labels": list(SUPERB_LABELS)}})
    monkeypatch.setattr(server_app, "log", lambda _level, text, *values: told.append(text % values))
    monkeypatch.setattr(server_app, "find_clients", lambda *_: clients)
    monkeypatch.setattr(server_app, "Rounds", no_rounds)
    return told


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    def begin(**given: Any) -> Path:
        """Begin a run with the app's config, and what is given of it; returns its folder."""
        default = get_project_config(ROOT / "flower")["tool"]["flwr"]["app"]["config"]
        config = {**default, "output": str(tmp_path / "output"), **given}
        server_app.main(None, Context(1, 1, {}, RecordDict(), config))
        return tmp_path / "output"

    return begin


def test_the_recipe_follows_where_the_results_are(log: list[str], run: Callable[..., Path], tmp_path: Path):
    own = '{"strategy": {"name": "fedadam", "learning_rate": 0.5}, "recipe": {"shift_seconds": 0.1}}'
    with pytest.raises(Reached):
        run(settings=own)
    assert log == [
        f"Records and models are in {tmp_path / 'output'}",
        "Recipe: 2 passes a round, batches of 16, rate 0.001 (warm-up 10 %, decay 0.01), speed +/-15 %, "
        "shift +/-0.1 s, time masks 10 %, feature masks 10 %; "
        "strategy fedadam(learning_rate=0.5, beta1=0.5, beta2=0.99, tau=0.001)",
    ]
    assert (tmp_path / "output" / STATUS).read_text() == FAILED


def test_who_asks_for_cards_alone_trains_by_no_recipe(log: list[str], run: Callable[..., Path]):
    output = run(**{"cards-only": True})
    assert {file.name for file in output.iterdir()} >= {CARDS, STATUS}
    assert (output / STATUS).read_text() == FINISHED
    assert len(log) == 2 and not any("Recipe" in line for line in log)
