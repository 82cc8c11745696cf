"""The notebooks as they are committed: short cells, more prose than code, outputs of one clean run."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import nbformat
import pytest

from superb_ks.model.spec import ModelSpec
from superb_ks.settings import SUPERB_LABELS, Settings

ROOT = Path(__file__).resolve().parents[3]
WORKSPACE = ROOT / "workspace"
TUTORIAL = WORKSPACE / "PyTorch_Huggingface_transformers_SUPERB.ipynb"
NOTEBOOKS = [TUTORIAL, *sorted(WORKSPACE.glob("[2-9]_*.ipynb"))]

Cells = list[nbformat.NotebookNode]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem[:1])
def cells(request: pytest.FixtureRequest) -> Cells:
    return list(nbformat.read(request.param, as_version=4).cells)


def code_of(cells: Cells) -> Cells:
    return [cell for cell in cells if cell.cell_type == "code"]


def lines_of(cell: nbformat.NotebookNode) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def printed_by(cells: Cells) -> str:
    outputs = [output for cell in code_of(cells) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_there_are_six() -> None:
    assert [path.name for path in NOTEBOOKS] == [
        TUTORIAL.name,
        "2_tuning_and_strategies.ipynb",
        "3_baselines.ipynb",
        "4_differential_privacy.ipynb",
        "5_hundreds_of_speakers.ipynb",
        "6_your_own_voice.ipynb",
    ]


def test_cells_are_short_and_there_is_more_prose_than_code(cells: Cells) -> None:
    lengths = [len(lines_of(cell)) for cell in code_of(cells)]
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    assert len(cells) <= 45
    assert max(lengths) <= 25
    assert statistics.median(lengths) <= 10
    assert words >= 3 * sum(lengths)


def test_it_opens_with_its_goal_what_is_needed_and_how_long_it_takes(cells: Cells) -> None:
    opening = cells[0].source
    assert opening.startswith("# ")
    assert [part in opening for part in ("**You will**", "**You need**", "**It takes**")] == [True] * 3


def test_every_plot_is_followed_by_a_sentence(cells: Cells) -> None:
    for cell, following in zip(cells, cells[1:], strict=False):
        if re.search(r"^show\(", cell.source, re.MULTILINE):
            assert following.cell_type == "markdown" and not following.source.startswith("#"), cell.source


def test_the_outputs_are_of_one_clean_run(cells: Cells) -> None:
    """`python -m demo.outputs NOTEBOOK` renews them."""
    code = code_of(cells)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert {output.name for output in outputs if output.output_type == "stream"} <= {"stdout"}
    assert all(not re.search(r"/(home|root|work|tmp|Users)/", str(output)[:20_000]) for output in outputs)


def test_the_settings_that_the_demo_gives_are_in_one_cell(cells: Cells) -> None:
    (settings,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    names = ["MODEL", "ROUNDS", "SEED", "DIRECTOR_HOST", "DIRECTOR_PORT", "AGGREGATOR_PORT"]
    if "simulate(" in "".join(cell.source for cell in code_of(cells)):  # and needs no director
        names[3:] = ["CLIENTS", "DATA"]
    for name in names:
        assert re.search(rf"^{name} = .*  # ", settings.source, re.MULTILINE), name


def test_links_lead_somewhere(cells: Cells) -> None:
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert target.startswith("https://") or (WORKSPACE / target).is_file(), target
    for path in re.findall(r"`(docs/[^`]+)`", prose):
        assert (ROOT / path).is_file(), path


def test_the_train_task_shows_the_real_thing() -> None:
    """Arguments, an optimizer, a schedule and a Trainer, in at most 15 lines."""
    code = "\n".join(cell.source for cell in code_of(nbformat.read(TUTORIAL, as_version=4).cells))
    (body,) = re.findall(r"^def train\(.*\):\n((?:    .*\n)+)", code, re.MULTILINE)
    assert len(body.splitlines()) <= 15
    for shown in ("RoundArguments(", "AdamW(", "federated_cosine_schedule(", "RoundTrainer(", ".train()"):
        assert shown in body


def test_the_tutorials_outputs_are_of_the_model_as_it_is() -> None:
    printed = printed_by(nbformat.read(TUTORIAL, as_version=4).cells)
    model = ModelSpec("tiny", SUPERB_LABELS).build()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert f"trainable, and federated: {trainable:,} " in printed
    for name, value in vars(Settings().complete_recipe).items():
        assert f"{name}: {value}\n" in printed


def test_pipeline_and_federation_agree_on_the_committed_run() -> None:
    printed = printed_by(nbformat.read(TUTORIAL, as_version=4).cells)
    pipeline, federation = (
        re.findall(rf"^{who}: +(.*)$", printed, re.MULTILINE) for who in ("Pipeline", "Federation")
    )
    assert pipeline == federation != []


def test_drawings_in_characters_fit_into_jupyterlab() -> None:
    """It folds longer lines, next to its list of files and on a screen of 1,280 pixels."""
    prose = [c for c in nbformat.read(TUTORIAL, as_version=4).cells if c.cell_type == "markdown"]
    blocks = [block for cell in prose for block in cell.source.split("```")[1::2]]
    assert any("│ env_one " in block for block in blocks)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 84
