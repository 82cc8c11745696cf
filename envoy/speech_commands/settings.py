"""The settings of a shard descriptor, checked once when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from superb_node.errors import DataError, require_one_of
from superb_node.labels import FEWEST_SPEAKERS, LABELS, PARTITIONS, composed, keyword_ids

SOURCES = ("synthetic", "folder", "hub", "archives")
BAD_CLIP_POLICIES = ("error", "skip")

Section = TypeVar("Section")


@dataclass(frozen=True)
class HubSettings:
    """Where SUPERB KS is on the Hugging Face hub, as plain parquet files.

    Attributes:
        id: name of a data set on the hub, or a local folder.
        revision: branch, tag or commit; ignored for a folder.
        train: pattern of the training files below the data set's root.
        val: the same for validation.
        test: the same for test.
    """

    id: str = "s3prl/superb"
    revision: str = "refs/convert/parquet"
    train: str = "ks/train/*.parquet"
    val: str = "ks/validation/*.parquet"
    test: str = "ks/test/*.parquet"


@dataclass(frozen=True)
class Archive:
    """A tar file to download: address, size in bytes, SHA-256 in hexadecimal digits."""

    url: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ArchiveSettings:
    """The two official Speech Commands v0.01 archives."""

    train: Archive = Archive(
        "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
        1_489_096_277,
        "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
    )
    test: Archive = Archive(
        "http://download.tensorflow.org/data/speech_commands_test_set_v0.01.tar.gz",
        71_271_436,
        "baa084f6b62c91de660ff0588ae4dfc4e4d534aa99ac0e5f406cba75836cbd00",
    )


@dataclass(frozen=True)
class Scenario:
    """How the data of one envoy are worse than those of the others.

    Attributes:
        snr_db: signal-to-noise ratio of background noise that is added in every split; None: no noise.
        label_noise: share of training clips that get a wrong label, 0 to 1.
        gain_db: gain applied to every clip; what exceeds full scale is clipped.
        missing_class: name of a class of which this envoy has no clips, in any split.
    """

    snr_db: float | None = None
    label_noise: float = 0.0
    gain_db: float = 0.0
    missing_class: str | None = None

    def __bool__(self) -> bool:
        return self != Scenario()


@dataclass(frozen=True)
class Settings:
    """Which clips there are, and which envoy gets which."""

    source: str = "synthetic"
    data_dir: str | None = None
    test_dir: str | None = None
    partition: str = "iid"
    seed: int = 0
    labels: tuple[str, ...] = LABELS
    alpha: float = 0.5
    min_shard: int = 1
    speakers: int = FEWEST_SPEAKERS
    on_bad_clip: str = "error"
    scenario: Scenario = field(default_factory=Scenario)
    hub: HubSettings = field(default_factory=HubSettings)
    archives: ArchiveSettings = field(default_factory=ArchiveSettings)


def read_settings(given: Mapping[str, Any]) -> Settings:
    """Check the settings of a configuration file.

    Args:
        given: settings by name; those that are absent or None have their default.

    Raises:
        DataError: a setting is unknown or its value is not legal.
    """
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    require_names("the shard descriptor", values, Settings, also=("rank_worldsize",))  # the descriptor's own
    if "labels" in values:
        values["labels"] = read_labels(values["labels"])
    labels = values.get("labels", LABELS)
    if "scenario" in values:
        values["scenario"] = read_scenario(values["scenario"], labels)
    if "hub" in values:
        values["hub"] = read_section("hub", values["hub"], HubSettings)
        require_texts("hub", values["hub"], "id", "revision", "train", "val", "test")
    if "archives" in values:
        values["archives"] = read_archives(values["archives"])
    settings = Settings(**values)
    require_one_of("source", settings.source, SOURCES)
    require_one_of("partition", settings.partition, PARTITIONS)
    require_one_of("on_bad_clip", settings.on_bad_clip, BAD_CLIP_POLICIES)
    require_number("seed", settings.seed, whole=True)
    require_number("min_shard", settings.min_shard, whole=True, low=0)
    require_number("speakers", settings.speakers, whole=True, low=FEWEST_SPEAKERS)
    require_number("alpha", settings.alpha, low=0.001, high=1e6)
    return settings


def read_labels(given: object) -> tuple[str, ...]:
    """Check the names of the classes."""
    names = tuple(given) if isinstance(given, list | tuple) else ()
    names = tuple(composed(name) if isinstance(name, str) else name for name in names)
    words = all(isinstance(name, str) and name and "/" not in name for name in names)
    if len(names) < 2 or not words or len(set(names)) < len(names):
        raise DataError(f"labels is {given!r}; expected a list of two or more different folder names")
    if not keyword_ids(names):
        raise DataError(f"labels is {given!r}; at least one of them must be a word")
    return names


def read_scenario(given: object, labels: tuple[str, ...]) -> Scenario:
    """Check how the data of one envoy are degraded."""
    scenario = read_section("scenario", given, Scenario)
    if scenario.snr_db is not None:
        require_number("scenario.snr_db", scenario.snr_db, low=-100, high=200)
    require_number("scenario.label_noise", scenario.label_noise, low=0, high=1)
    require_number("scenario.gain_db", scenario.gain_db, low=-200, high=200)
    missing = scenario.missing_class
    if missing is None:
        return scenario
    missing = composed(missing) if isinstance(missing, str) else missing
    require_one_of("scenario.missing_class", missing, labels)
    return replace(scenario, missing_class=missing)


def read_archives(given: object) -> ArchiveSettings:
    """Check the two archives' addresses, sizes and digests."""
    sections = require_mapping("archives", given)
    require_names("archives", sections, ArchiveSettings)
    archives = {
        name: read_section(f"archives.{name}", section, Archive)
        for name, section in sections.items()
        if section
    }
    for name, archive in archives.items():
        require_texts(f"archives.{name}", archive, "url", "sha256")
        require_number(f"archives.{name}.bytes", archive.bytes, whole=True, low=1)
    return ArchiveSettings(**archives)


def read_section(name: str, given: object, section: type[Section]) -> Section:
    """Make a dataclass from a mapping in the configuration."""
    values = {key: value for key, value in require_mapping(name, given).items() if value is not None}
    require_names(name, values, section)
    try:
        return section(**values)
    except TypeError as error:
        names = ", ".join(entry.name for entry in fields(section))  # type: ignore[arg-type]
        raise DataError(f"{name} is incomplete; it takes {names}") from error


def require_texts(name: str, section: object, *entries: str) -> None:
    """Check that entries of a section are texts."""
    for entry in entries:
        value = getattr(section, entry)
        if not isinstance(value, str):
            raise DataError(f"{name}.{entry} is {value!r}; expected a text")


def require_mapping(name: str, given: object) -> Mapping[str, Any]:
    """Check that a section of the configuration has entries."""
    if not isinstance(given, Mapping):
        raise DataError(f"{name} is {given!r}; expected a section of 'name: value' lines")
    return given


def require_names(name: str, values: Mapping[str, Any], section: type, also: tuple[str, ...] = ()) -> None:
    """Check that every entry is known."""
    legal = (*also, *(entry.name for entry in fields(section)))
    for key in values:
        require_one_of(f"an entry of {name}", key, legal)


def require_number(
    name: str, value: object, *, whole: bool = False, low: float | None = None, high: float | None = None
) -> None:
    """Check that a setting is a number within its range."""
    kind = int if whole else (int, float)
    number = isinstance(value, kind) and not isinstance(value, bool)
    inside = number and (low is None or value >= low) and (high is None or value <= high)  # type: ignore[operator]
    if not inside:
        bounds = (
            "" if low is None else f" of at least {low:g}" if high is None else f" from {low:g} to {high:g}"
        )
        raise DataError(f"{name} is {value!r}; expected a {'whole ' if whole else ''}number{bounds}")
