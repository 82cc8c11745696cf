"""Settings refuse what is illegal, and take from the model what is left open."""

import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest

from superb_ks.recipe import RECIPES
from superb_ks.settings import (
    STRATEGIES,
    SUPERB_LABELS,
    TUNINGS,
    Addresses,
    CompleteRecipe,
    EarlyStopping,
    Failures,
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    FedYogi,
    Full,
    Head,
    Lora,
    Privacy,
    Recipe,
    Settings,
    TrimmedMean,
    strategy_named,
    tuning_named,
)

WORKSPACE = Path(__file__).resolve().parents[2] / "workspace"


def test_labels_are_superbs_twelve_in_its_order():
    assert " ".join(SUPERB_LABELS) == "yes no up down left right on off stop go _silence_ _unknown_"


def test_defaults_are_legal_and_cannot_be_changed_in_place():
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.rounds = 5  # type: ignore[misc]  # what must not be possible


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        *[
            (Addresses, "director_host", host)
            for host in ("", " ", 7, "http://localhost", "localhost:50050", "localhost.")
        ],
        *[
            (Addresses, "director_host", host)
            for host in ("me@gpu1", "gpu1/", "[::1]:50050", "[gpu1]", "gpu1 gpu2", "7")
        ],
        (Addresses, "director_port", 0),
        (Addresses, "director_port", "50050"),
        (Addresses, "aggregator_port", 65536),
        (Addresses, "aggregator_port", 50050),
        (Addresses, "certificates", " "),
        (Addresses, "certificates", 1),
        (Addresses, "insecure_allow_plaintext_on_network", "yes"),
        (Settings, "model", " "),
        (Settings, "rounds", 0),
        (Settings, "rounds", 100_001),
        (Settings, "rounds", 2.0),
        (Settings, "rounds", True),
        (Settings, "seed", -1),
        (Settings, "seed", 2**32),
        (Settings, "precision", "float16"),
        *[
            (Settings, "envoys", names)
            for names in ([], (), "clinic", ["clinic", "clinic"], ["a b"], [1], {"clinic": 1}, [None], 2)
        ],
        (Settings, "fraction", 0),
        (Settings, "personalise", 1),
        (Settings, "personalise", None),
        (Settings, "fraction", 1.01),
        (Settings, "experiment_name", "../cert"),
        (Settings, "experiment_name", "9lives"),
        (Settings, "experiment_name", "a" * 65),
        (Settings, "test_data", ""),
        (Settings, "tuning", "full"),
        (Settings, "strategy", "fedavg"),
        (Settings, "strategy", None),
        (Settings, "recipe", {"batch_size": 4}),
        (Settings, "privacy", Recipe()),
        (Recipe, "epochs_per_round", 0),
        (Recipe, "batch_size", -1),
        (Recipe, "learning_rate", 0.0),
        (Recipe, "learning_rate", float("nan")),
        (Recipe, "warmup_fraction", 1.0),
        (Recipe, "weight_decay", -0.1),
        (Recipe, "speed_change", 1.0),
        (Recipe, "shift_seconds", 0.6),
        (Recipe, "mask_time_prob", 1),
        (Recipe, "mask_feature_prob", float("nan")),
        (Lora, "rank", 0),
        (Lora, "alpha", 0.0),
        (EarlyStopping, "target", 0),
        (EarlyStopping, "target", 95),
        (EarlyStopping, "target", float("nan")),
        (EarlyStopping, "patience", 0),
        (EarlyStopping, "patience", 1.5),
        (EarlyStopping, "min_delta", -0.01),
        (EarlyStopping, "min_delta", 1.0),
        (EarlyStopping, "min_delta", 0.01),  # without patience
        (Settings, "early_stopping", None),
        (Settings, "early_stopping", 0.95),
        (Failures, "min_envoys", 0),
        (Failures, "round_timeout_seconds", 0),
        (Failures, "on_task_error", "ignore"),
        (FedProx, "mu", -0.1),
        (FedAdam, "learning_rate", 0.0),
        (FedAdam, "beta1", 1.0),
        (FedYogi, "beta2", -0.1),
        (FedYogi, "tau", 0.0),
        (FedYogi, "tau", float("inf")),
        (TrimmedMean, "fraction", 0.5),
        (TrimmedMean, "fraction", -0.1),
        (TrimmedMean, "fraction", float("nan")),
        (TrimmedMean, "fraction", "0.1"),
    ],
)
def test_an_illegal_value_is_named_with_its_field(kind, field, value):
    with pytest.raises(ValueError, match="legal: ") as error:
        kind(**{field: value})
    assert str(error.value).startswith(f"{kind.__name__}.{field} is {value!r}; legal: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [("clip_norm", 0), ("noise_multiplier", 0.0), ("noise_multiplier", float("inf")), ("delta", 1)],
)
def test_an_illegal_value_of_privacy_is_named(field, value):
    with pytest.raises(ValueError, match=rf"^Privacy\.{field} is {value}; legal: "):
        replace(Privacy(clip_norm=1.0, noise_multiplier=1.0), **{field: value})


# What no class has cannot be said -----------------------------------------------------------------------


def test_every_strategy_and_tuning_has_its_own_parameters_and_no_others():
    taken = {
        kind: [field.name for field in fields(kind)] for kind in (*STRATEGIES.values(), *TUNINGS.values())
    }
    adaptive = ["learning_rate", "beta1", "beta2", "tau"]
    assert taken == {
        FedAvg: [], FedProx: ["mu"], FedAdam: adaptive, FedYogi: adaptive, FedMedian: [],
        TrimmedMean: ["fraction"], Full: [], Lora: ["rank", "alpha"], Head: [],
    }  # fmt: skip


def test_clipping_without_noise_and_noise_without_clipping_cannot_be_said():
    for half in ({"clip_norm": 1.0}, {"noise_multiplier": 1.0}):
        with pytest.raises(TypeError, match="missing 1 required"):
            Privacy(**half)


# What depends on two groups is one clear error ----------------------------------------------------------


@pytest.mark.parametrize("tuning", [Lora(), Head()])
def test_random_weights_are_trained_whole(tuning):
    legal = re.escape(f"Settings.tuning is {tuning!r}; legal: Full(...) with model 'scratch'")
    with pytest.raises(ValueError, match=f"^{legal}$"):
        Settings(model="scratch", tuning=tuning)


@pytest.mark.parametrize("field", ["speed_change", "shift_seconds", "mask_time_prob", "mask_feature_prob"])
def test_a_head_hears_clips_as_they_are(field):
    recipe = Recipe(**{field: 0.25})
    for tuning in (Full(), Lora()):
        assert getattr(Settings(tuning=tuning, recipe=recipe).complete_recipe, field) == 0.25
    legal = re.escape(f"Settings.recipe is Recipe({field}=0.25); legal: {field} None with tuning Head()")
    with pytest.raises(ValueError, match=f"^{legal}"):
        Settings(tuning=Head(), recipe=recipe)
    nothing = Settings(tuning=Head(), recipe=Recipe(**{field: 0})).complete_recipe
    assert getattr(nothing, field) == 0


@pytest.mark.parametrize("strategy", [FedMedian(), TrimmedMean()])
def test_privacy_goes_with_strategies_that_average(strategy):
    private = Privacy(clip_norm=1.0, noise_multiplier=1.0)
    legal = "FedAvg(...) or FedProx(...) or FedAdam(...) or FedYogi(...) with privacy"
    message = re.escape(f"Settings.strategy is {strategy!r}; legal: {legal}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        Settings(privacy=private, strategy=strategy)
    assert Settings(privacy=private, strategy=FedYogi()).privacy.delta == 1e-5
    with pytest.raises(ValueError, match=r"FedAvg\(\) or FedProx\(...\) with privacy and engine 'flower'"):
        Settings(privacy=private, strategy=FedYogi(), engine="flower")
    assert Settings(privacy=private, strategy=FedProx(), engine="flower").engine == "flower"


# The recipe ---------------------------------------------------------------------------------------------


def test_a_recipe_and_a_complete_one_have_the_same_fields():
    assert [field.name for field in fields(Recipe)] == [field.name for field in fields(CompleteRecipe)]


def test_the_recipe_is_the_models_own_where_nothing_is_set():
    assert Settings(model="tiny").complete_recipe == RECIPES["tiny"]
    assert Settings(model="facebook/wav2vec2-base").complete_recipe == RECIPES["pretrained"]


def test_what_is_set_goes_over_the_models_own_recipe():
    recipe = Settings(recipe=Recipe(batch_size=7, weight_decay=0.0)).complete_recipe
    assert recipe == replace(RECIPES["tiny"], batch_size=7, weight_decay=0.0)


@pytest.mark.parametrize("model", ["tiny", "some/model"])
def test_each_tuning_brings_its_own_recipe_and_a_head_hears_clips_as_they_are(model):
    full, lora, head = (Settings(model=model, tuning=kind()).complete_recipe for kind in TUNINGS.values())
    assert full == RECIPES.get(model, RECIPES["pretrained"])
    assert lora.learning_rate > full.learning_rate
    assert head.epochs_per_round > full.epochs_per_round and head.speed_change == 0
    chosen = Settings(model=model, tuning=Lora(), recipe=Recipe(learning_rate=0.5)).complete_recipe
    assert chosen == replace(lora, learning_rate=0.5)


def test_another_model_brings_its_own_recipe():
    other = replace(Settings(model="tiny"), model="some/model")
    assert other.complete_recipe == RECIPES["pretrained"]


# Names and JSON -----------------------------------------------------------------------------------------


def test_strategies_and_tunings_have_names_for_the_command_line():
    assert list(STRATEGIES) == ["fedavg", "fedprox", "fedadam", "fedyogi", "median", "trimmed_mean"]
    assert [strategy_named(name) for name in STRATEGIES] == [kind() for kind in STRATEGIES.values()]
    assert [tuning_named(name) for name in TUNINGS] == [Full(), Lora(), Head()]
    with pytest.raises(
        ValueError, match="^strategy is 'fedsgd'; legal: 'fedavg' or 'fedprox' or 'fedadam' or"
    ):
        strategy_named("fedsgd")
    with pytest.raises(ValueError, match="^tuning is 'adapter'; legal: 'full' or 'lora' or 'head'$"):
        tuning_named("adapter")


EVERYTHING = Settings(
    model="facebook/wav2vec2-base",
    tuning=Lora(rank=4, alpha=2.0),
    recipe=Recipe(learning_rate=1e-4),
    strategy=FedYogi(tau=0.1),
    privacy=Privacy(clip_norm=0.5, noise_multiplier=2.0),
    failures=Failures(min_envoys=3, round_timeout_seconds=60.0),
    addresses=Addresses(director_host="gpu1"),
    experiment_name="mine",
)


@pytest.mark.parametrize("settings", [Settings(), EVERYTHING], ids=["defaults", "everything"])
def test_settings_go_through_json_and_come_back_equal(settings):
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_what_json_leaves_out_has_its_default():
    read = Settings.from_dict({"rounds": 9, "strategy": {"name": "fedprox"}, "failures": {"min_envoys": 2}})
    assert read == Settings(rounds=9, strategy=FedProx(), failures=Failures(min_envoys=2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"round": 3}, "Settings has no field 'round'; its fields are model, tuning, recipe, rounds, "),
        (
            {"privacy": {"delta": 0.1}},
            "Privacy misses 'clip_norm'; its fields are clip_norm, noise_multiplier, ",
        ),
        ({"strategy": {"name": "fedprox", "tau": 1}}, "FedProx has no field 'tau'; its fields are mu"),
        ({"strategy": {"name": "fedavg", "tau": 1}}, "FedAvg has no field 'tau'; its fields are none"),
        ({"strategy": {"mu": 1}}, "Settings.strategy is ''; legal: 'fedavg' or 'fedprox' or "),
        ({"strategy": {"name": ["fedavg"]}}, "Settings.strategy is ['fedavg']; legal: 'fedavg' or "),
        ({"tuning": {"name": "lora", "rank": "8"}}, "Lora.rank is '8'; legal: a whole number from 1"),
        ({"recipe": {"name": "lora"}}, "Settings.recipe is 'lora'; legal: ''"),
        ({"rounds": {}}, "Settings.rounds is {}; legal: a whole number from 1 to 100,000"),
    ],
)
def test_json_that_is_no_settings_is_refused(values, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Settings.from_dict(values)


def test_settings_print_as_the_call_that_makes_them():
    assert repr(Settings()) == "Settings()"
    assert eval(repr(EVERYTHING)) == EVERYTHING
    assert repr(Settings(rounds=5, recipe=Recipe(batch_size=4))) == (
        "Settings(recipe=Recipe(batch_size=4), rounds=5)"
    )


# What imports them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["superb_ks", "superb_ks.settings", "superb_ks.strategy_settings"])
def test_the_director_and_the_demo_can_import_them_without_pytorch_and_numpy(module):
    code = (
        f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=WORKSPACE)


def test_envoys_are_chosen_by_name_in_any_order():
    assert Settings().envoys is None
    chosen = Settings(envoys=["phone", "clinic"])
    assert chosen.envoys == ("clinic", "phone")
    assert chosen == Settings(envoys=("clinic", "phone"))
    assert repr(chosen) == "Settings(envoys=('clinic', 'phone'))"
    assert chosen.to_dict()["envoys"] == ["clinic", "phone"]
    assert Settings.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen
    assert chosen.for_nodes().envoys == chosen.envoys, "owners read with whom theirs is averaged"


def test_envoys_that_cannot_be_chosen_together_with_other_settings():
    with pytest.raises(
        ValueError, match=r"Settings.envoys is \('a',\); legal: at least 2 names, as min_envoys"
    ):
        Settings(envoys=("a",), failures=Failures(min_envoys=2))
    with pytest.raises(ValueError, match="legal: None with engine 'flower', where all SuperNodes take part"):
        Settings(envoys=("a",), engine="flower")
