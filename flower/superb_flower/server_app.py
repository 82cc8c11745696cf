"""The server: the director's schedule of rounds, by Flower's grid and strategies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from superb_flower.clients import find_clients, require_classes
from superb_flower.experiment import text_of_experiment
from superb_flower.output import Output
from superb_flower.rounds import Rounds
from superb_ks.experiment import Experiment
from superb_ks.model.packing import pack
from superb_ks.model.spec import ModelSpec
from superb_ks.run_files import FAILED, FINISHED, INITIAL, RUNNING, read_model
from superb_ks.types import Vector

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry out an experiment; its records and models are in the folder `output`."""
    config = context.run_config
    output = Output(Path(str(config["output"])))
    output.status(RUNNING)
    try:
        text = text_of_experiment(config)
        experiment = Experiment.read(text)
        settings = replace(experiment.settings, engine="flower")  # refused if Flower cannot do it
        clients = find_clients(grid, settings.failures.min_envoys)
        output.cards(clients.cards)
        if config["cards-only"]:
            return output.status(FINISHED)
        if isinstance(experiment.model, dict):
            require_classes(clients, experiment.model["labels"])
        Rounds(grid, clients, text, settings, output, float(config["fraction-evaluate"])).run(
            _initial_weights(output.folder, experiment)
        )
    except Exception as error:
        output.note(0, "director", "failure", f"{type(error).__name__}: {error}")
        output.status(FAILED)
        raise
    output.status(FINISHED)


def _initial_weights(folder: Path, experiment: Experiment) -> Vector:
    """Return the weights that the author gave, or those of the model as it is built."""
    if (folder / INITIAL).exists():
        return read_model(folder / INITIAL)
    if not isinstance(experiment.model, dict):
        raise ValueError("an experiment with a model of its own gives its initial weights")
    return pack(ModelSpec.from_dict(experiment.model).build())
