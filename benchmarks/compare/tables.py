"""The comparison's tables in Markdown: means over seeds, and distances with their standard errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.compare.few_clips import few_clips
from benchmarks.compare.panels import envoy_scores
from benchmarks.compare.plan import FEDERATIONS, SHARES
from superb_notebook.results import PLAIN, Outcome, order_shown, outcomes

TUNINGS = ("full", "lora", "head")

Row = dict[str, Any]


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """Return the tables in Markdown, by title; those without a row are left out."""
    made = {
        "Regimes and ways to tune, real speech": regimes_table(rows),
        "Strategies, 4 envoys that hold different words (dirichlet 0.3), real speech": strategies_table(
            rows, "dirichlet"
        ),
        "Strategies, 4 envoys that hold the same words (iid), real speech": strategies_table(rows, "iid"),
        "Few training clips, real speech": few_clips_table(rows),
        "One of 4 envoys sends noise (iid, real speech)": garbage_table(rows),
        "Each envoy's own test clips, real speech": envoys_table(rows),
        "Synthetic speech": synthetic_table(rows),
    }
    return {title: table for title, table in made.items() if table.count("\n") > 1}


def regimes_table(rows: Sequence[Row]) -> str:
    """Return regimes, partitions and tunings, with two distances: of a federation or an envoy alone to the
    centralised run of the same tuning, and of a tuning to `full` with the same clips in the same places.
    """
    found = outcomes(rows, **{**PLAIN, "tuning": TUNINGS})
    best = {o.conditions["tuning"]: o for o in found if o.conditions["regime"] == "centralised"}
    whole = {_place(o): o for o in found if o.conditions["tuning"] == "full"}
    found.sort(key=lambda o: (TUNINGS.index(o.conditions["tuning"]), order_shown(o.conditions)))
    lines = []
    for outcome in found:
        named = outcome.conditions
        lines.append(
            [
                named["regime"],
                f"{named['envoys']} {named['partition']}" if named["regime"] != "centralised" else "–",
                named["tuning"],
                *_accuracy(outcome),
                *_distance(best.get(named["tuning"]), outcome),
                *_distance(whole.get(_place(outcome)), outcome),
                f"{outcome.mean_of('bytes') / 1e6:.2f}" if named["regime"] == "federated" else "–",
            ]
        )
    behind = [*_behind("centralised"), *_behind("`full`")]
    return markdown(["regime", "envoys", "tuning", *_ACCURACY, *behind, "MB sent by an envoy"], lines)


def _place(outcome: Outcome) -> tuple[Any, ...]:
    """Return where the clips are: what ways to tune are compared within."""
    return tuple(outcome.conditions[key] for key in ("regime", "partition", "envoys"))


def strategies_table(rows: Sequence[Row], partition: str) -> str:
    """Return the strategies on four shards of a partition, with the distances to FedAvg and to centralised.

    The best on the validation clips, by which a strategy is chosen, comes first.
    """
    chosen = dict(data="real", partition=partition, envoys=4, regime="federated", tuning="full", garbage=0)
    found = outcomes(rows, **chosen)
    found.sort(key=lambda outcome: -outcome.mean_of("validation_accuracy"))
    plain = next((o for o in found if o.conditions["strategy"] == "fedavg"), None)
    collected = next(iter(outcomes(rows, **{**PLAIN, "regime": "centralised"})), None)
    lines = [
        [
            o.conditions["strategy"],
            f"{100 * o.mean_of('validation_accuracy'):.1f} %",
            *_accuracy(o),
            *_distance(plain, o),
            *_distance(collected, o),
        ]
        for o in found
    ]
    header = ["strategy", "validation accuracy", *_ACCURACY, *_behind("FedAvg"), *_behind("centralised")]
    return markdown(header, lines)


def few_clips_table(rows: Sequence[Row]) -> str:
    """Return the learning curve over few clips, a line for each share of the training clips."""
    curves = few_clips(rows)
    lines = []
    for share in SHARES:
        known = [curve[share] for curve in curves.values() if share in curve]
        if not known:
            continue
        row = known[0].rows[0]
        epochs = row["rounds"] * row["epochs_per_round"]
        accuracies = [str(curve[share]) if share in curve else "–" for curve in curves.values()]
        clips = f"{row['clips_seen'] / epochs:,.0f}"
        lines.append([f"{100 * share:.0f} %", clips, str(epochs), *accuracies, _seeds(*known)])
    return markdown(["share", "training clips", "epochs", *curves, "seeds"], lines)


def garbage_table(rows: Sequence[Row]) -> str:
    """Return each strategy's accuracy without and with an envoy that sends noise, and what that cost."""
    found = outcomes(rows, data="real", partition="iid", envoys=4, regime="federated")
    means = {(o.conditions["strategy"], o.conditions["garbage"]): o for o in found}
    lines = [
        [
            strategy,
            str(clean),
            str(means[strategy, 1]),
            f"{100 * (clean.mean - means[strategy, 1].mean):.1f}",
            _seeds(clean, means[strategy, 1]),
        ]
        for (strategy, garbage), clean in means.items()
        if garbage == 0 and (strategy, 1) in means
    ]
    return markdown(["strategy", "clean", "with noise", "points lost", "seeds"], lines)


def envoys_table(rows: Sequence[Row]) -> str:
    """Return, by partition and envoy, the accuracies of federated, personal and local model.

    The seeds are of the federation and of training alone; one number where they do not differ.
    """
    lines = []
    for partition, envoys in FEDERATIONS:
        scores = envoy_scores(rows, partition, envoys)
        for name, seen in scores.items():
            known = [seen.get(key) for key in ("global", "personalised", "local")]
            lines.append(
                [
                    partition,
                    name,
                    *(f"{statistics.fmean(seen[key]):.0f}" for key in ("train_clips", "test_clips")),
                    *(f"{100 * statistics.fmean(values):.1f} %" if values else "–" for values in known),
                    ", ".join(dict.fromkeys(str(len(values)) for values in known if values)),
                ]
            )
    header = ["partition", "envoy", "training clips", "test clips"]
    models = ["federated model", "the model that it keeps", "trained alone"]
    return markdown([*header, *models, "seeds"], lines)


def synthetic_table(rows: Sequence[Row]) -> str:
    """Return the demo's own run, and the same from random weights."""
    found = outcomes(rows, data="synthetic")
    header = ["model", "envoys", "rounds", *_ACCURACY, "MB sent by an envoy"]
    lines = [
        [
            o.conditions["model"],
            f"{o.conditions['envoys']} {o.conditions['partition']}",
            str(o.conditions["rounds"]),
            *_accuracy(o),
            f"{o.mean_of('bytes') / 1e6:.2f}",
        ]
        for o in sorted(found, key=lambda o: -o.mean)
    ]
    return markdown(header, lines)


_ACCURACY = ("test accuracy", "median", "seeds")


def _behind(reference: str) -> tuple[str, str]:
    """Return the header of what `_distance` returns."""
    return f"points behind {reference}", "standard error"


def _seeds(*found: Outcome) -> str:
    """Return over how many seeds means are; several numbers where they differ."""
    return ", ".join(dict.fromkeys(str(len(outcome.rows)) for outcome in found))


def _accuracy(outcome: Outcome) -> tuple[str, str, str]:
    """Return mean and spread, median, and number of seeds."""
    median = statistics.median(outcome.accuracies)
    return str(outcome), f"{100 * median:.1f} %", str(len(outcome.rows))


def _distance(reference: Outcome | None, outcome: Outcome) -> tuple[str, str]:
    """Return by how many points a mean is behind that of a reference, and the standard error of this.

    The seeds of the two count as independent samples. One seed says nothing about an error.
    """
    if reference is None or reference is outcome:
        return "–", "–"
    points = f"{100 * (reference.mean - outcome.mean):+.1f}"
    if reference.spread is None or outcome.spread is None:
        return points, "–"
    error = math.hypot(
        reference.spread / math.sqrt(len(reference.rows)), outcome.spread / math.sqrt(len(outcome.rows))
    )
    return points, f"{100 * error:.1f}"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rule = "|".join("---" for _ in header)
    return "\n".join(
        ["| " + " | ".join(header) + " |", f"|{rule}|", *(f"| {' | '.join(x)} |" for x in lines)]
    )
