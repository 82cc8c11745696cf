"""Makes a table and two plots of the transport benchmark's results.

python -m benchmarks.transport.report            # prints the table, writes docs/images/transport.png and .svg
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.compare.plots import publish
from benchmarks.transport.result import RESULTS, ROOT, load

IMAGES = ROOT / "docs" / "images"
NAMES = {
    "ours": "this project",
    "flower-simulation": "Flower, simulation",
    "flower": "Flower, deployment",
    "openfl": "OpenFL as shipped",
}
COLORS = {"ours": "#1b6ca8", "flower-simulation": "#e0a458", "flower": "#c8553d", "openfl": "#6b6b6b"}
SIZES = ("small", "base")
GROWTH_SIZE = "10m"


def main(argv: list[str] | None = None) -> int:
    """Print the table and write the plots."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--images", type=Path, default=IMAGES)
    options = parser.parse_args(argv)
    results = load(options.results)
    print(table(results))
    for line in slopes(results):
        print(line)
    options.images.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg"):
        save_plot(results, options.images / f"transport.{ending}")
    return 0


def table(results: dict[str, Any]) -> str:
    """Return the engines as a table in Markdown, seconds and megabytes above the base."""
    rows = [
        "| parameters | engine | submit | to the first task | first round | a warm round | to the end "
        "| server's memory | a client's memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        for engine in NAMES:
            entry = results.get("engines", {}).get(f"{engine}/{size}/2")
            if entry:
                rows.append(_row(NAMES[engine], entry))
    return "\n".join(rows)


def _row(name: str, entry: dict[str, Any]) -> str:
    seconds, memory = entry["seconds"], entry["memory"]
    cells = [f"{entry['parameters'] / 1e6:.3g} M", name]
    if entry.get("unfinished") and "warm_round" not in seconds:
        cells += [
            _seconds(seconds, "submit"),
            _seconds(seconds, "to_first_task"),
            entry["unfinished"],
            "–",
            "–",
        ]
    else:
        keys = ("submit", "to_first_task", "first_round", "warm_round", "to_finished")
        cells += [_seconds(seconds, key) for key in keys]
    if "all" in memory:
        cells += [f"{_above_base(memory['all'])} (all together)", "–"]
    else:
        cells += [_above_base(memory.get("server", {})), _above_base(memory.get("client", {}))]
    return "| " + " | ".join(cells) + " |"


def _seconds(seconds: dict[str, float], key: str) -> str:
    return f"{seconds[key]:.3g} s" if key in seconds else "–"


def _above_base(memory: dict[str, float]) -> str:
    """Return base and growth of anonymous memory, such as "280 + 812 MB"."""
    if not memory:
        return "–"
    base = memory["base_anonymous"]
    return f"{base / 1e6:.0f} + {(memory['peak_anonymous'] - base) / 1e6:.0f} MB"


def slopes(results: dict[str, Any]) -> list[str]:
    """Say how many bytes a second a round moves as it grows, and what the machine does at best."""
    lines = []
    for name, (x, y, bytes_of) in curves(results).items():
        if len(x) > 1:
            slope, start = np.polyfit(x, y, 1)
            lines.append(
                f"growth over {name}: {start:.2f} s + {slope:.3g} s for each, "
                f"{bytes_of(1.0) / slope / 1e6:.0f} MB a second up and down"
            )
    limits = results.get("limits", {}).get("machine")
    if limits:
        named = (
            ("loopback", "plain loopback socket"),
            ("memcpy", "memcpy"),
            ("memcpy_to_new_memory", "memcpy to new memory"),
        )
        speeds = (f"{text} {limits[f'{key}_bytes_per_second'] / 1e6:.0f}" for key, text in named)
        lines.append(f"this machine at best, in MB a second: {', '.join(speeds)}")
    return lines


def curves(results: dict[str, Any]) -> dict[str, tuple[list[float], list[float], Callable[[float], float]]]:
    """Return `x`, seconds of a warm round, and the bytes that `x` adds, over parameters and envoys."""
    every = results.get("engines", {}).values()
    ours = [entry for entry in every if entry["engine"] == "ours" and "warm_round" in entry["seconds"]]
    by_size = sorted((e["parameters"] / 1e6, e["seconds"]["warm_round"]) for e in ours if e["clients"] == 2)
    by_envoys = sorted((e["clients"], e["seconds"]["warm_round"]) for e in ours if e["size"] == GROWTH_SIZE)
    parameters = next((e["parameters"] for e in ours if e["size"] == GROWTH_SIZE), 0)
    both_ways, clients, float32 = 2, 2, 4
    return {
        "millions of parameters": (
            [x for x, _ in by_size],
            [y for _, y in by_size],
            lambda x: x * 1e6 * float32 * both_ways * clients,
        ),
        "envoys": (
            [float(x) for x, _ in by_envoys],
            [y for _, y in by_envoys],
            lambda x: x * parameters * float32 * both_ways,
        ),
    }


def save_plot(results: dict[str, Any], path: Path) -> None:
    """Draw warm rounds of all engines, and our growth, and publish the image atomically."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True)
    _draw_engines(axes[0], results)
    for axis, (name, (x, y, _)) in zip(axes[1:], curves(results).items(), strict=True):
        axis.plot(x, y, "o-", color=COLORS["ours"])
        axis.set_xlabel(name)
        axis.set_ylabel("seconds a warm round")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[1].set_title("2 envoys", fontsize=10)
    axes[2].set_title("10 M parameters", fontsize=10)
    publish(figure, path)
    plt.close(figure)


def _draw_engines(axis: Any, results: dict[str, Any]) -> None:
    """Bars of a warm round for each size and engine, on a logarithmic axis."""
    width = 0.8 / len(NAMES)
    for offset, engine in enumerate(NAMES):
        for place, size in enumerate(SIZES):
            entry = results.get("engines", {}).get(f"{engine}/{size}/2", {})
            seconds = entry.get("seconds", {}).get("warm_round")
            label = NAMES[engine] if place == 0 else None
            x = place + (offset - 1.5) * width
            axis.bar(x, seconds or 0, width, color=COLORS[engine], label=label)
            text = f"{seconds:.2g}" if seconds else "not\ndone" if entry.get("unfinished") else ""
            axis.annotate(text, (x, seconds or 0.01), ha="center", va="bottom", fontsize=8)
    axis.set_yscale("log")
    axis.set_ylim(bottom=0.01)
    axis.set_xticks(range(len(SIZES)), ["0.12 M parameters", "94.6 M parameters"])
    axis.set_ylabel("seconds a warm round")
    axis.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


if __name__ == "__main__":
    sys.exit(main())
