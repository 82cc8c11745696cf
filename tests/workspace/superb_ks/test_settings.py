"""Settings refuse what is illegal, and take from the model what is left open."""

import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from superb_ks.recipe import RECIPES, TUNINGS
from superb_ks.settings import STRATEGIES, SUPERB_LABELS, Settings

WORKSPACE = Path(__file__).resolve().parents[3] / "workspace"


def test_labels_are_superbs_twelve_in_its_order():
    assert " ".join(SUPERB_LABELS) == "yes no up down left right on off stop go _silence_ _unknown_"


def test_defaults_are_legal_and_cannot_be_changed_in_place():
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.rounds = 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            ("director_host", host)
            for host in ("", " ", 7, "http://localhost", "localhost:50050", "localhost.")
        ],
        *[
            ("director_host", host)
            for host in ("me@gpu1", "gpu1/", "[::1]:50050", "[gpu1]", "gpu1 gpu2", "7")
        ],
        ("director_port", 0),
        ("certificates", " "),
        ("certificates", 1),
        ("insecure_allow_plaintext_on_network", "yes"),
        ("director_port", "50050"),
        ("aggregator_port", 65536),
        ("aggregator_port", 50050),
        ("model", " "),
        ("rounds", 0),
        ("rounds", 2.0),
        ("rounds", True),
        ("epochs_per_round", 0),
        ("batch_size", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("warmup_fraction", 1.0),
        ("weight_decay", -0.1),
        ("steps_per_round", 0),
        ("balanced_classes", 1),
        ("speed_change", 1.0),
        ("shift_seconds", 0.6),
        ("time_mask_seconds", -0.1),
        ("mask_time_prob", 1),
        ("mask_feature_prob", float("nan")),
        ("seed", -1),
        ("dp_clip_norm", 0),
        ("dp_noise_multiplier", 0.0),
        ("dp_noise_multiplier", float("inf")),
        ("dp_delta", 1),
        ("seed", 2**32),
        ("lora_rank", 0),
        ("lora_alpha", 0.0),
        ("precision", "float16"),
        ("min_envoys", 0),
        ("strategy", "fedsgd"),
        ("strategy", ["fedavg"]),
        ("fraction", 0),
        ("fraction", 1.01),
        ("proximal_mu", -0.1),
        ("server_learning_rate", 0.0),
        ("server_beta1", 1.0),
        ("server_beta2", -0.1),
        ("server_tau", 0.0),
        ("server_tau", float("inf")),
        ("trim_fraction", 0.5),
        ("trim_fraction", "0.1"),
        ("experiment_name", "../cert"),
        ("experiment_name", "9lives"),
        ("experiment_name", "a" * 65),
    ],
)
def test_an_illegal_value_is_named_with_its_field(field, value):
    with pytest.raises(ValueError, match="legal: ") as error:
        Settings(**{field: value})
    assert str(error.value).startswith(f"{field} is {value!r}; legal: ")


def test_epochs_and_steps_exclude_each_other():
    with pytest.raises(ValueError, match="^steps_per_round is 9; legal: None where epochs_per_round is set"):
        Settings(epochs_per_round=2, steps_per_round=9)
    assert Settings(steps_per_round=9).recipe.steps_per_round == 9


def test_the_recipe_is_the_models_own_where_nothing_is_set():
    assert Settings(model="tiny").recipe == RECIPES["tiny"]
    assert Settings(model="facebook/wav2vec2-base").recipe == RECIPES["pretrained"]


def test_what_is_set_goes_over_the_models_own_recipe():
    recipe = Settings(batch_size=7, weight_decay=0.0).recipe
    assert recipe == replace(RECIPES["tiny"], batch_size=7, weight_decay=0.0)


def test_a_tuning_is_named_with_what_the_model_allows():
    with pytest.raises(
        ValueError, match="^tuning is 'adapter'; legal: 'full' or 'lora' or 'head' for 'tiny'$"
    ):
        Settings(tuning="adapter")
    with pytest.raises(ValueError, match="^tuning is 'head'; legal: 'full' for 'scratch'$"):
        Settings(model="scratch", tuning="head")


@pytest.mark.parametrize("model", ["tiny", "some/model"])
def test_each_tuning_brings_its_own_recipe_and_a_head_hears_clips_as_they_are(model):
    full, lora, head = (Settings(model=model, tuning=tuning).recipe for tuning in TUNINGS)
    assert full == RECIPES.get(model, RECIPES["pretrained"])
    assert lora.learning_rate > full.learning_rate
    assert head.epochs_per_round > full.epochs_per_round and head.speed_change == 0
    chosen = Settings(model=model, tuning="lora", lora_rank=3, lora_alpha=5, learning_rate=0.5).recipe
    assert (chosen.lora_rank, chosen.lora_alpha, chosen.learning_rate) == (3, 5, 0.5)


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize(
    ("field", "users"),
    [
        ("speed_change", ("full", "lora")),
        ("shift_seconds", ("full", "lora")),
        ("time_mask_seconds", ("full", "lora")),
        ("mask_time_prob", ("full", "lora")),
        ("mask_feature_prob", ("full", "lora")),
        ("lora_rank", ("lora",)),
        ("lora_alpha", ("lora",)),
    ],
)
def test_what_a_tuning_does_not_use_is_refused(tuning, field, users):
    value = 3 if field == "lora_rank" else 0.25
    if tuning in users:
        assert getattr(Settings(tuning=tuning, **{field: value}).recipe, field) == value
        return
    only = " or ".join(map(repr, users))
    legal = f"^{field} is {value}; legal: None with tuning '{tuning}', only {only} has it$"
    with pytest.raises(ValueError, match=legal):
        Settings(tuning=tuning, **{field: value})
    if not field.startswith("lora"):
        assert getattr(Settings(tuning=tuning, **{field: 0}).recipe, field) == 0


def test_another_model_brings_its_own_recipe():
    assert replace(Settings(model="tiny"), model="some/model").recipe == RECIPES["pretrained"]


def test_a_strategy_brings_its_own_parameters():
    assert Settings().strategy_parameters == {}
    assert Settings(strategy="fedprox", proximal_mu=0.0).strategy_parameters == {"proximal_mu": 0.0}
    assert Settings(strategy="trimmed_mean").strategy_parameters == {"trim_fraction": 0.2}
    assert Settings(strategy="fedyogi", server_beta1=0.5).strategy_parameters == {
        **STRATEGIES["fedyogi"],
        "server_beta1": 0.5,
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("field", sorted({field for takes in STRATEGIES.values() for field in takes}))
def test_a_parameter_of_another_strategy_is_refused(strategy, field):
    if field in STRATEGIES[strategy]:
        assert Settings(strategy=strategy, **{field: 0.25}).strategy_parameters[field] == 0.25
    else:
        legal = f"{field} is 0.25; legal: None with strategy '{strategy}', only '.*' has it"
        with pytest.raises(ValueError, match=legal):
            Settings(strategy=strategy, **{field: 0.25})


def test_no_proximal_term_is_legal_with_every_strategy():
    for strategy in STRATEGIES:
        assert Settings(strategy=strategy, proximal_mu=0).proximal_mu == 0


@pytest.mark.parametrize("module", ["superb_ks", "superb_ks.settings"])
def test_the_director_can_import_it_without_pytorch(module):
    code = (
        f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=WORKSPACE)


def test_privacy_is_off_unless_it_is_asked_for():
    assert Settings().privacy is None
    private = Settings(dp_clip_norm=1.5, dp_noise_multiplier=2, strategy="fedyogi").privacy
    assert private == {"clip_norm": 1.5, "noise_multiplier": 2, "delta": 1e-5}
    assert Settings(dp_clip_norm=1, dp_noise_multiplier=1, dp_delta=1e-3).privacy["delta"] == 1e-3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dp_clip_norm": 1.0}, "dp_noise_multiplier is None; legal: above 0 where dp_clip_norm is set"),
        (
            {"dp_noise_multiplier": 1.0},
            "dp_clip_norm is None; legal: above 0 where dp_noise_multiplier is set",
        ),
        ({"dp_delta": 1e-5}, "dp_delta is 1e-05; legal: None without dp_clip_norm"),
        (
            {"dp_clip_norm": 1.0, "dp_noise_multiplier": 1.0, "strategy": "median"},
            "strategy is 'median'; legal: 'fedavg' or 'fedprox' or 'fedadam' or 'fedyogi' with dp_clip_norm",
        ),
    ],
)
def test_privacy_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Settings(**fields)
