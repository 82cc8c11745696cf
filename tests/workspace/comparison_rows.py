"""Rows as `make compare` leaves them, with figures that can be added up by hand."""

from __future__ import annotations

from typing import Any

LABELS = ("yes", "no", "up")


def comparison_row(regime: str, accuracy: float, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a row of two rounds; the federated regime has sent a megabyte in each."""
    federated = regime == "federated"
    curve: list[dict[str, float]] = [
        {
            "round": number,
            "validation": accuracy * number / 2,
            "bytes": 1_000_000 * number * federated,
        }
        for number in range(3)
    ]
    own: dict[str, float] = {"train_clips": 30, "test_clips": 10}
    own |= {"global": accuracy, "personalised": accuracy + 0.05} if federated else {"local": accuracy}
    row = {
        "data": "real",
        "partition": "pooled" if regime == "centralised" else "iid",
        "envoys": 1 if regime == "centralised" else 2,
        "tuning": "full",
        "strategy": "fedavg" if federated else None,
        "seed": seed,
        "regime": regime,
        "test_accuracy": accuracy,
        "bytes": curve[-1]["bytes"],
        "model": "tiny",
        "checkpoint": "0123456789ab",
        "recipe": "ba9876543210",
        "garbage": 0,
        "rounds": 2,
        "epochs_per_round": 4,
        "clips_seen": 480,
        "best_round": 2,
        "validation_accuracy": accuracy,
        "test_clips": 20,
        "curve": curve,
        "classes": dict.fromkeys(LABELS, accuracy),
        "envoy_scores": {} if regime == "centralised" else {"env_one": own, "env_two": own},
        "date": "2030-01-02T03:04:05+00:00",
        "commit": "abc1234",
        "machine": {"processor": "a processor", "cores": 2},
    }
    return {**row, **changes}


def small_comparison() -> list[dict[str, Any]]:
    """Return two seeds of the three regimes, other tunings, strategies, an attack and the synthetic rows."""
    seeds = (0, 1)
    rows = [comparison_row("centralised", 0.88 + 0.02 * seed, seed) for seed in seeds]
    rows += [comparison_row("federated", 0.86 + 0.02 * seed, seed) for seed in seeds]
    rows += [comparison_row("local", 0.70 + 0.04 * seed, seed) for seed in seeds]
    skewed: dict[str, Any] = {"partition": "dirichlet", "envoys": 4}
    rows += [
        comparison_row("federated", 0.80, strategy=strategy, **skewed) for strategy in ("fedavg", "fedprox")
    ]
    rows.append(comparison_row("local", 0.50, **skewed))
    rows.append(comparison_row("federated", 0.85, tuning="lora"))
    for strategy, clean, attacked in (("fedavg", 0.87, 0.10), ("median", 0.86, 0.84)):
        rows.append(comparison_row("federated", clean, envoys=4, strategy=strategy))
        rows.append(comparison_row("federated", attacked, envoys=4, strategy=strategy, garbage=1))
    rows.append(comparison_row("federated", 0.97, data="synthetic"))
    rows.append(comparison_row("federated", 0.60, data="synthetic", model="scratch"))
    return rows
