"""Federated averaging by Flower's own strategy, which notes the seconds of each round."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, Settings, tuning_named

app = ServerApp()


class Timed(FedAvg):
    """Notes when a round begins and ends."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.seconds: list[float] = []
        self._began = 0.0

    def configure_train(self, *given: Any) -> Any:
        """Begin a round."""
        self._began = time.monotonic()
        return super().configure_train(*given)

    def aggregate_evaluate(self, *given: Any) -> Any:
        """End a round."""
        answer = super().aggregate_evaluate(*given)
        self.seconds.append(time.monotonic() - self._began)
        return answer


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds, and write their seconds."""
    run = context.run_config
    fraction = float(run["fraction"])
    model = ModelSpec.of(
        Settings(model="tiny", tuning=tuning_named(str(run["tuning"]))), SUPERB_LABELS
    ).build()
    strategy = Timed(fraction_train=fraction, fraction_evaluate=fraction)
    strategy.start(
        grid, ArrayRecord(model.state_dict()), num_rounds=int(run["rounds"]), evaluate_fn=None, timeout=3600
    )
    Path(str(run["output"])).write_text(json.dumps(strategy.seconds), encoding="utf-8")
