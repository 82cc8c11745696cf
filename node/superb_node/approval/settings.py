"""The owner's settings of approval, from the config of director or envoy; see docs/approval.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superb_node.errors import ConfigError

OPEN, MANUAL, DIGEST = "open", "manual", "digest"
MEANINGS = {
    OPEN: "every experiment that arrives runs here unseen",
    MANUAL: "an experiment runs here after its owner has said so: bash review.sh",
    DIGEST: "an experiment runs here if its digest is in {approved_digests}",
}
LONGEST_SECONDS = 604_800
SETTINGS = ("approval", "approved_digests", "approval_seconds")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class GateSettings:
    """What is let in; see the comments in the node's config.

    Attributes:
        approval: "open", "manual" or "digest".
        approval_seconds: how long an experiment waits for its approval.
        approved_digests: file with a digest a line, for "digest".
    """

    approval: str = OPEN
    approval_seconds: int = 3600
    approved_digests: Path = Path("approved_digests.txt")

    @classmethod
    def take(cls, settings: dict[str, Any], config: Path) -> GateSettings:
        """Take the gate's settings out of those in `config`.

        Raises:
            ConfigError: a value is not legal, or the list of digests cannot be read.
        """
        approval = settings.pop("approval", OPEN)
        if approval not in MEANINGS:
            raise ConfigError(f"{config}: approval is {approval!r}; legal: {', '.join(MEANINGS)}")
        digests = config.absolute().parent / str(settings.pop("approved_digests", cls.approved_digests))
        seconds = settings.pop("approval_seconds", cls.approval_seconds)
        if type(seconds) is not int or not 1 <= seconds <= LONGEST_SECONDS:
            raise ConfigError(f"{config}: approval_seconds is {seconds!r}; legal: 1 to {LONGEST_SECONDS}")
        if approval == DIGEST:
            read_digests(digests)
        return cls(approval, seconds, digests)


def read_digests(path: Path) -> set[str]:
    """Read a list of digests: one a line, blank lines and what follows a `#` do not count.

    Raises:
        ConfigError: there is no such file, or a line of it is no digest.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"approved_digests: {path} cannot be read ({error})") from error
    digests = {text for line in lines if (text := line.partition("#")[0].strip())}
    for digest in sorted(digests):
        if not _DIGEST.fullmatch(digest):
            raise ConfigError(f"approved_digests: {path} holds {digest!r}; legal: 64 digits 0 to 9, a to f")
    return digests
