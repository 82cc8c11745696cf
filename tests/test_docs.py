"""README and docs are short enough, and their links, files, modules, targets of make and commits exist."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")), *DOCS]
FOLDERS = "director|envoy|node|workspace|tests|benchmarks|docs|deploy|demo|certificates|pretraining"


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """Targets of Markdown links and pictures that do not lead to another site."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(text))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(text: str) -> set[str]:
    """The names under which the hosting site links a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_links(page: Path) -> list[str]:
    missing = []
    for link in links(page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            missing.append(link)
    return missing


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `title`, with 1.7\n[here](#a-title-with-17) [nowhere](#a-title)\n"
        "[none](no.md) [site](https://example.org/no.md) ![none](no.png)\n"
        "```\n# code\n[code](code.md)\n```\n[code](#code)\n",
        encoding="utf-8",
    )
    assert missing_links(page) == ["#a-title", "no.md", "no.png", "#code"]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not missing_links(page)


def test_the_readme_fits_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_readme_leads_to_every_page() -> None:
    linked = set(links((ROOT / "README.md").read_text(encoding="utf-8")))
    assert {ids(page) for page in DOCS} <= linked


@pytest.mark.parametrize("page", DOCS, ids=ids)
def test_a_page_says_for_whom_it_is_and_lists_what_is_in_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0].startswith("# ") and not lines[1]
    assert re.match(r"For .*\.$", lines[2])
    assert re.match(r"After reading .*\.$", lines[3])
    sections = re.findall(r"^## (.+)$", prose(text), re.MULTILINE)
    listed = re.findall(r"^- \[(.+)\]\(#.+\)$", text, re.MULTILINE)
    assert listed == sections or (not listed and len(lines) <= 100)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]+\.\w+)`", page.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]


def exists(module: str) -> bool:
    """Whether a module, a package, or a name in a module exists in this project."""
    path = Path(*module.split("."))
    for folder in (ROOT, ROOT / "node", ROOT / "workspace", ROOT / "envoy"):
        if (folder / path).is_dir() or (folder / path).with_suffix(".py").is_file():
            return True
        parent = (folder / path.parent).with_suffix(".py")
        defined = rf"^(def |class |){path.name}\b"
        if parent.is_file() and re.search(defined, parent.read_text(encoding="utf-8"), re.MULTILINE):
            return True
    return False


def test_names_of_modules_are_looked_up() -> None:
    assert exists("tests.drills.run") and exists("tests.drills.run.perform")
    assert not exists("tests.drills.run.perform_not") and not exists("benchmarks.none")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=ids)
def test_modules_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    packages = "superb_ks|superb_node|superb_notebook|speech_commands|benchmarks|demo"
    named = re.findall(rf"\b((?:{packages})(?:\.[A-Za-z_]\w*)+)", re.sub(r"[\w/.]+/[\w.]+", "", text))
    assert not [name for name in named if not exists(name)]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_targets_of_make_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```.*?^```|`[^`\n]+`", text, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)", code))
    shown = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert named <= set(re.findall(r"^  ([a-z-]+) ", shown, re.MULTILINE))


def missing_commits(text: str, known: tuple[str, ...]) -> list[str]:
    """Names after the word "commit" or "commits" with which no known commit begins."""
    lists = re.findall(r"\bcommits? ((?:[0-9a-f]{7,40}\b(?:, and |, | and )?)+)", text)
    named = re.findall(r"[0-9a-f]{7,40}", " ".join(lists))
    return [name for name in named if not any(commit.startswith(name) for commit in known)]


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


@functools.cache
def commits() -> tuple[str, ...]:
    """The project's commits, from its first one to this one."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout: an archive has no history")
    if git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("needs the whole history: this is a shallow clone")
    return tuple(git("rev-list", "HEAD").split())


def test_a_commit_that_is_nowhere_is_found() -> None:
    text = "(commit 1234567, 2 cores); commits 89abcde, 7654321 and fedcba9: so commit to it, 0000000"
    assert missing_commits(text, ("1234567" + 33 * "0", "7654321" + 33 * "0")) == ["89abcde", "fedcba9"]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commits_that_are_named_exist(page: Path) -> None:
    assert not missing_commits(page.read_text(encoding="utf-8"), commits())
