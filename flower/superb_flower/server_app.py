"""The server: the director's schedule of rounds, by Flower's grid and strategies."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp

from superb_flower.clients import find_clients, require_classes, require_splits
from superb_flower.errors import RunFailed
from superb_flower.experiment import notebooks_text, settings_by_config, spec_of, text_of
from superb_flower.output import Output
from superb_flower.rounds import Rounds
from superb_ks.checked import FRACTION
from superb_ks.collaborator.personal import save_pretrained
from superb_ks.experiment import Experiment
from superb_ks.model.folder import ModelUnavailable
from superb_ks.model.packing import pack
from superb_ks.model.spec import ModelMismatch, ModelSpec
from superb_ks.recipe import recipe_in_words
from superb_ks.run_files import BEST, FAILED, FAILURE, FINISHED, INITIAL, RUNNING, read_model
from superb_ks.settings import Settings
from superb_ks.types import Vector

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry out an experiment; its records and models are in the folder `output`, or the next free one."""
    config, sent = context.run_config, notebooks_text()
    # Illegal settings of a run's config leave no folder; a notebook looks into its own for the reason.
    by_config = None if sent else _settings(config, None)
    output = _output(Path(str(config["output"])))
    log(logging.INFO, "Records and models are in %s", output.folder)
    output.status(RUNNING)
    try:
        _carry_out(grid, config, sent, by_config or _settings(config, sent), output)
    except Exception as error:
        told = str(error) if isinstance(error, RunFailed) else f"{type(error).__name__}: {error}"
        output.note(0, "director", FAILURE, told)
        output.status(FAILED)
        raise
    output.status(FINISHED)
    log(logging.INFO, "Finished; records and models are in %s", output.folder)


def _output(folder: Path) -> Output:
    """Take a folder without a run: this one, or the same name with the first number that is free.

    Raises:
        RunFailed: it cannot be written.
    """
    try:
        free, number = folder.resolve(), 2
        while True:
            try:
                return Output(free)
            except FileExistsError:
                if not free.is_dir():
                    raise
                free, number = folder.resolve().with_name(f"{folder.name}-{number}"), number + 1
    except OSError as error:
        raise RunFailed(f"the run config's output cannot be written: {error}") from error


def _settings(config: Mapping[str, Any], sent: bytes | None) -> Settings:
    """Return the settings of a notebook's text, or of the run's config; refused if Flower cannot do them."""
    share = config["fraction-evaluate"]
    if not FRACTION.contains(share):
        raise RunFailed(f"the run config's fraction-evaluate is {share!r}; legal: {FRACTION.words}")
    try:
        settings = Experiment.read(sent).settings if sent else settings_by_config(config)
        return replace(settings, engine="flower")
    except ValueError as error:
        raise RunFailed(error) from error


def _carry_out(
    grid: Grid, config: Mapping[str, Any], sent: bytes | None, settings: Settings, output: Output
) -> None:
    clients = find_clients(grid, settings.failures, lambda name, why: output.note(0, name, "dropped", why))
    output.cards(clients.cards)
    if config["cards-only"]:
        return
    require_splits(clients)
    log(logging.INFO, "Recipe: %s", recipe_in_words(vars(settings.complete_recipe), settings.to_dict()))
    try:
        experiment = Experiment.read(sent or text_of(settings, clients.labels))
        spec = spec_of(experiment)
        start = _initial_weights(output.folder, spec)
    except (ModelMismatch, ModelUnavailable, ValueError) as error:
        raise RunFailed(error) from error
    require_classes(clients, spec.labels)
    share = float(config["fraction-evaluate"])
    Rounds(grid, clients, experiment.to_bytes(), settings, output, share).run(start)
    if sent is None:  # a notebook saves its model itself
        save_pretrained(experiment, read_model(output.folder / BEST), output.folder / "model")


def _initial_weights(folder: Path, spec: ModelSpec) -> Vector:
    """Return the weights that a notebook gave, or those of the model as it is built."""
    given = folder / INITIAL
    return read_model(given) if given.exists() else pack(spec.build())
