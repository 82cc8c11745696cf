"""What a data scientist may choose for one experiment, checked on creation. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

from superb_ks.ranges import (
    DP_DELTA,
    PRIVACY_RANGES,
    PRIVATE_STRATEGIES,
    RECIPE_RANGES,
    STRATEGY_RANGES,
    is_host,
    is_int,
    is_real,
)
from superb_ks.recipe import TINY, USED_BY, Recipe, legal_tunings, recipe_for

SUPERB_LABELS = (
    "yes",
    "no",
    "up",
    "down",
    "left",
    "right",
    "on",
    "off",
    "stop",
    "go",
    "_silence_",
    "_unknown_",
)
"""The twelve classes of SUPERB keyword spotting, in its order."""

PRECISIONS = ("auto", "float32", "bfloat16")

UPDATE_DTYPES = ("float32", "bfloat16")
ON_TASK_ERROR = ("fail", "continue")

_EXPERIMENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")

# The paper's betas and tau (Reddi et al., 2021); OpenFL's learning rate.
_ADAPTIVE = {"server_learning_rate": 0.01, "server_beta1": 0.9, "server_beta2": 0.99, "server_tau": 1e-3}
STRATEGIES: dict[str, dict[str, float]] = {
    "fedavg": {},
    "fedprox": {"proximal_mu": 0.01},
    "fedadam": _ADAPTIVE,
    "fedyogi": _ADAPTIVE,
    "median": {},
    "trimmed_mean": {"trim_fraction": 0.2},
}
"""The strategies (`aggregator.strategies` holds their formulas), and what each takes, with its default."""


@dataclass(frozen=True)
class Settings:
    """One experiment's settings. `None` in a field of the recipe means the model's own default.

    A tuning refuses a value in a field of the recipe that it does not use.

    Attributes:
        director_host: name or address under which the director is reached from here.
        director_port: TCP port of the director.
        certificates: folder of `make certs` with which the notebook shows who it is, and speaks TLS with the
            director; `None` speaks without, with a director on this machine.
        insecure_allow_plaintext_on_network: True speaks without TLS with a director on another machine, too:
            whoever is on the way can read and change all, and nobody's identity is checked.
        aggregator_port: TCP port that the director opens for the envoys while an experiment runs.
        model: "tiny" (the pretrained miniature that ships with this package), "scratch" (the same from
            random weights), a model id of the Hugging Face hub, or a folder written by `save_pretrained`. The
            recipe goes by this name: a folder gets that of pretrained models, also if a miniature is in it.
        tuning: what is trained and sent: "full", all but the convolutional feature encoder (with "scratch"
            that as well); "lora", low-rank adapters and the head; "head", the head alone.
        rounds: training rounds; every envoy trains and the director averages once in each.
        epochs_per_round: passes over an envoy's training clips in one round.
        batch_size: clips in one optimizer step.
        learning_rate: peak learning rate of AdamW.
        warmup_fraction: share of the whole federation's steps spent warming up, in [0, 1).
        weight_decay: weight decay of AdamW.
        steps_per_round: optimizer steps of every envoy in one round, however many clips it has; in place of
            `epochs_per_round`.
        balanced_classes: True trains on each class equally often, False on each clip once an epoch.
        speed_change: not of "head", as the next four: share by which clips are played faster or slower at
            most, in [0, 1); 0 changes nothing and is legal with every tuning.
        shift_seconds: seconds by which clips are moved in time at most, in [0, 0.5].
        time_mask_seconds: seconds of each clip that are silenced at most, in [0, 0.5].
        mask_time_prob: share of the model's frames that is masked at most, in [0, 1).
        mask_feature_prob: share of the frames' channels that is masked at most, in [0, 1).
        lora_rank: of "lora" alone: width of the adapters.
        lora_alpha: of "lora" alone: the adapters' output is scaled by alpha / rank.
        seed: initial weights, order of clips and dropout all follow from it.
        precision: "bfloat16" trains under autocast, "float32" does not, "auto" uses bfloat16 where the
            processor or the GPU computes in it. Evaluation is always in float32.
        strategy: how updates become the next model: "fedavg", "fedprox", "fedadam", "fedyogi", "median" or
            "trimmed_mean". `None` in a field of a strategy means its default in `STRATEGIES`; a strategy that
            does not use the field refuses a value.
        proximal_mu: of "fedprox": weight of the term that keeps training near the round's start, from 0.
        server_learning_rate: of "fedadam" and "fedyogi": learning rate of the director's optimizer.
        server_beta1: of both: share of the first moment (of the changes) that a round keeps, in [0, 1).
        server_beta2: of both: the same of the second moment (of their squares), in [0, 1).
        server_tau: of both: about the change of a weight below which steps follow its size, above 0.
        trim_fraction: of "trimmed_mean": share of the values that goes at each end, in [0, 0.5).
        dp_clip_norm: differential privacy of each envoy (docs/privacy.md): L2 norm to which its change of a
            round is shortened, above 0; every envoy then counts the same. `None`: no differential privacy.
        dp_noise_multiplier: of the same, and with it alone: standard deviation of the noise on the sum of the
            changes, in clipping norms, above 0.
        dp_delta: of the same: the delta that the spent epsilon is computed for, in (0, 1); `None`: 1e-5.
        fraction: share of the envoys that train in a round, in (0, 1], rounded up and drawn from the seed;
            the others validate only.
        min_envoys: how many envoys must be online before an experiment is submitted.
        round_cutoff_seconds: a round closes after so long with whoever reported; `None` waits for all
            that live.
        on_task_error: "fail" ends the experiment when a task raises on one envoy, "continue" goes on
            without it.
        update_dtype: what envoys send after training: "float32" weights, or their change as "bfloat16",
            which is half as much.
        best_metric: what `validate` returns and the best model has most of.
        experiment_name: letters, digits, "-" and "_", starting with a letter; `None` makes one up.
        test_data: folder of the test archive, for scoring the final model in the notebook; "testing_list":
            what the list of that name in the envoys' `data_dir` names; `None`: where the envoys say it is.
        runs_dir: folder that receives one folder a run, relative to the notebook.

    Raises:
        ValueError: a value is outside its legal range; the message names field, value and range.
    """

    director_host: str = "localhost"
    director_port: int = 50050
    certificates: str | None = None
    insecure_allow_plaintext_on_network: bool = False
    aggregator_port: int = 50051
    model: str = TINY
    tuning: str = "full"
    rounds: int = 3
    epochs_per_round: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    warmup_fraction: float | None = None
    weight_decay: float | None = None
    steps_per_round: int | None = None
    balanced_classes: bool | None = None
    speed_change: float | None = None
    shift_seconds: float | None = None
    time_mask_seconds: float | None = None
    mask_time_prob: float | None = None
    mask_feature_prob: float | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    seed: int = 0
    precision: str = "auto"
    strategy: str = "fedavg"
    proximal_mu: float | None = None
    server_learning_rate: float | None = None
    server_beta1: float | None = None
    server_beta2: float | None = None
    server_tau: float | None = None
    trim_fraction: float | None = None
    dp_clip_norm: float | None = None
    dp_noise_multiplier: float | None = None
    dp_delta: float | None = None
    fraction: float = 1.0
    min_envoys: int = 1
    round_cutoff_seconds: float | None = None
    on_task_error: str = "fail"
    best_metric: str = "accuracy"
    update_dtype: str = "float32"
    experiment_name: str | None = None
    test_data: str | None = None
    runs_dir: str = "../runs"

    def __post_init__(self) -> None:
        host = "a name such as gpu1.example.org or an address such as ::1; director_port has the port"
        self._require(is_host(self.director_host), "director_host", host)
        for field in ("model", "runs_dir"):
            value = getattr(self, field)
            self._require(isinstance(value, str) and value.strip() != "", field, "text that is not empty")
        folder = self.certificates
        self._require(
            folder is None or (isinstance(folder, str) and folder.strip() != ""),
            "certificates",
            "None, or the folder that make certs made for the notebook's user",
        )
        plaintext = "insecure_allow_plaintext_on_network"
        self._require(isinstance(getattr(self, plaintext), bool), plaintext, "True or False")
        for field in ("director_port", "aggregator_port"):
            self._require(is_int(getattr(self, field), 1, 65535), field, "a whole number from 1 to 65535")
        self._require(self.director_port != self.aggregator_port, "aggregator_port", "another port")
        for field in ("rounds", "min_envoys"):
            self._require(is_int(getattr(self, field), 1), field, "a whole number from 1")
        self._require(is_int(self.seed, 0, 2**32 - 1), "seed", "a whole number from 0 to 2**32 - 1")
        self._require(self.precision in PRECISIONS, "precision", " or ".join(map(repr, PRECISIONS)))
        tunings = legal_tunings(self.model)
        self._require(
            self.tuning in tunings, "tuning", f"{' or '.join(map(repr, tunings))} for {self.model!r}"
        )
        self._require(
            self.on_task_error in ON_TASK_ERROR, "on_task_error", " or ".join(map(repr, ON_TASK_ERROR))
        )
        self._require(
            self.update_dtype in UPDATE_DTYPES, "update_dtype", " or ".join(map(repr, UPDATE_DTYPES))
        )
        cutoff = self.round_cutoff_seconds
        self._require(
            cutoff is None or (is_real(cutoff) and cutoff > 0), "round_cutoff_seconds", "None or above 0"
        )
        name = self.experiment_name
        self._require(
            name is None or (isinstance(name, str) and _EXPERIMENT_NAME.fullmatch(name) is not None),
            "experiment_name",
            "None, or up to 63 letters, digits, '-' and '_', starting with a letter",
        )
        self._check_recipe()
        self._check_strategy()
        self._check_privacy()

    def _check_recipe(self) -> None:
        for field, (within, legal) in RECIPE_RANGES.items():
            value = getattr(self, field)
            self._require(value is None or within(value), field, f"None or {legal}")
        epochs = self.epochs_per_round
        self._require(
            epochs is None or self.steps_per_round is None,
            "steps_per_round",
            f"None where epochs_per_round is set, and it is {epochs}",
        )
        for field, users in USED_BY.items():
            value = getattr(self, field)
            # No augmentation is what the head has anyway.
            self._require(
                not value or self.tuning in users,
                field,
                f"None with tuning {self.tuning!r}, only {' or '.join(map(repr, users))} has it",
            )

    def _check_strategy(self) -> None:
        self._require(self.strategy in tuple(STRATEGIES), "strategy", " or ".join(map(repr, STRATEGIES)))
        fraction = self.fraction
        self._require(is_real(fraction) and 0 < fraction <= 1, "fraction", "in (0, 1]")
        for field, (within, legal) in STRATEGY_RANGES.items():
            value = getattr(self, field)
            self._require(value is None or within(value), field, f"None or {legal}")
            users = " or ".join(repr(name) for name, takes in STRATEGIES.items() if field in takes)
            # No weight on the proximal term is what every other strategy does anyway.
            without_effect = value is None or (field == "proximal_mu" and value == 0)
            self._require(
                without_effect or field in STRATEGIES[self.strategy],
                field,
                f"None with strategy {self.strategy!r}, only {users} has it",
            )

    def _check_privacy(self) -> None:
        for field, (within, legal) in PRIVACY_RANGES.items():
            value = getattr(self, field)
            self._require(value is None or within(value), field, f"None or {legal}")
        clips, noise = (getattr(self, name) is not None for name in ("dp_clip_norm", "dp_noise_multiplier"))
        self._require(noise or not clips, "dp_noise_multiplier", "above 0 where dp_clip_norm is set")
        self._require(clips or not noise, "dp_clip_norm", "above 0 where dp_noise_multiplier is set")
        self._require(clips or self.dp_delta is None, "dp_delta", "None without dp_clip_norm")
        private = " or ".join(map(repr, PRIVATE_STRATEGIES))
        self._require(
            not clips or self.strategy in PRIVATE_STRATEGIES, "strategy", f"{private} with dp_clip_norm"
        )

    def _require(self, ok: bool, field: str, legal: str) -> None:
        if not ok:
            raise ValueError(f"{field} is {getattr(self, field)!r}; legal: {legal}")

    @property
    def recipe(self) -> Recipe:
        """The recipe that this experiment trains by: the model's own, with what is set here put over it."""
        chosen = {field.name: getattr(self, field.name, None) for field in fields(Recipe)}
        set_here = {name: value for name, value in chosen.items() if value is not None}
        return replace(recipe_for(self.model, self.tuning), **set_here)

    @property
    def strategy_parameters(self) -> dict[str, float]:
        """What the strategy takes, by field: its defaults, with what is set here put over them."""
        defaults = STRATEGIES[self.strategy]
        set_here = {field: getattr(self, field) for field in defaults if getattr(self, field) is not None}
        return {**defaults, **set_here}

    @property
    def privacy(self) -> dict[str, float] | None:
        """Differential privacy as the aggregator takes it; None: there is none."""
        if self.dp_clip_norm is None or self.dp_noise_multiplier is None:
            return None
        delta = DP_DELTA if self.dp_delta is None else self.dp_delta
        return {"clip_norm": self.dp_clip_norm, "noise_multiplier": self.dp_noise_multiplier, "delta": delta}
