"""A verdict that anyone can check: what it was computed from, what it says, and the hash of the record before.

    sha256 = SHA-256 of the record's canonical JSON (models.config.canonical) without `sha256`

A record holds the evidence and the thresholds, so `recompute` needs nothing else, and it names its predecessor, so a record that was
changed, left out, put in or moved breaks the chain (Haber and Stornetta, Journal of Cryptology 3, 1991). What a chain cannot show is
that its newest records are missing: keep the last hash elsewhere for that. Computes; reads and writes no topic.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from models.config import Release, canonical
from models.release.evidence import Evidence
from models.release.verdict import Verdict, decide

FIRST = "0" * 64  # `previous` of the first record


def record(evidence: Evidence, release: Release, previous: str = FIRST) -> dict[str, Any]:
    """The verdict on this evidence, sealed.

    >>> made = record(Evidence("v1", "v2", percentage=10, held_s=0), Release())
    >>> sorted(made)
    ['evidence', 'previous', 'release', 'sha256', 'verdict']
    >>> problems([made])
    []
    """
    return seal(
        {
            "evidence": msgspec.to_builtins(evidence),
            "release": msgspec.to_builtins(release),
            "verdict": msgspec.to_builtins(decide(evidence, release)),
        },
        previous,
    )


def seal(body: Mapping[str, Any], previous: str = FIRST) -> dict[str, Any]:
    """A record of any content with `previous` and `sha256`. ValueError where it has either already, or is no JSON."""
    if taken := {"previous", "sha256"} & body.keys():
        raise ValueError(f"{', '.join(sorted(taken))} in a record that is not sealed yet")
    linked = {**body, "previous": previous}
    return {**linked, "sha256": digest(linked)}


def digest(sealed: Mapping[str, Any]) -> str:
    """What `sha256` must be."""
    text = canonical({name: value for name, value in sealed.items() if name != "sha256"})
    return hashlib.sha256(text.encode()).hexdigest()


def recompute(sealed: Mapping[str, Any]) -> Verdict:
    """The verdict once more, from the record's own evidence and thresholds.

    Errors: msgspec.ValidationError or KeyError where the record has none that can be read.
    """
    return decide(
        msgspec.convert(sealed["evidence"], Evidence),
        msgspec.convert(sealed["release"], Release),
    )


def problems(records: Iterable[Mapping[str, Any]], previous: str | None = FIRST) -> list[str]:
    """What is wrong with a chain, oldest record first, one line each; an empty list where nothing is.

    `previous` is what the first of them must name; None: whatever it names, for a chain whose beginning is not kept any more.
    Records without `verdict` (changes of the split) are only walked.
    """
    found = []
    for place, sealed in enumerate(records, start=1):
        try:
            right = digest(sealed)
        except (ValueError, TypeError) as error:
            right = f"none: {error}"
        if sealed.get("sha256") != right:
            found.append(f"record {place}: sha256 is {sealed.get('sha256')}, its content gives {right}")
        if previous is not None and sealed.get("previous") != previous:
            found.append(f"record {place}: follows {sealed.get('previous')}, the record before is {previous}")
        if "verdict" in sealed and (wrong := _different(sealed)):
            found.append(f"record {place}: {wrong}")
        previous = str(sealed.get("sha256"))
    return found


def _different(sealed: Mapping[str, Any]) -> str | None:
    try:
        again = msgspec.to_builtins(recompute(sealed))
    except (msgspec.ValidationError, KeyError) as error:
        return f"evidence or thresholds cannot be read: {error}"
    told = sealed["verdict"]
    if told == again:
        return None
    names = [name for name in again if not isinstance(told, Mapping) or told.get(name) != again[name]]
    first = names[0] if names else "verdict"
    was = told.get(first) if isinstance(told, Mapping) else told
    return f"{first} is {was!r}, recomputed {again.get(first)!r}"
