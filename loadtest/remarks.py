"""What has to be said beside the figures of a run, so that nobody trusts them blindly. No I/O."""

from collections import Counter
from typing import Final

from loadtest.results import LATE_MS, LATE_SHARE, Result

MOST_LATE_SHARE: Final = 0.1
"""A latency counts from when its request was due, so the generator's own lateness is part of it:
up to here it moves no p99 by more than a tenth."""
NEVER_ANSWERED: Final = "0"
CREDENTIALS: Final = {"stats": "--token", "shopify": "--shopify-secret"}
"""The option that a kind of request is let in by; of all others it is ``--api-key``."""


def remarks(result: Result) -> list[str]:
    """Return a sentence for each thing that makes figures worth less; none if all is well."""
    return [text for text in (_late(result), _without_success(result)) if text]


def _late(result: Result) -> str:
    worst = max(
        (each.figures for each in result.rounds), key=lambda figures: figures.get(LATE_SHARE, 0.0)
    )
    share = worst.get(LATE_SHARE, 0.0)
    if share <= MOST_LATE_SHARE:
        return ""
    return (
        f"The generator itself sent late, by {worst[LATE_MS]:.3g} ms at its p99: that is"
        f" {share:.2f} of the smallest p99 of an open loop (good: at most {MOST_LATE_SHARE:g}), so"
        " the latencies are the generator's or the machine's, not the server's alone."
    )


def _without_success(result: Result) -> str:
    statuses: Counter[str] = Counter()
    for each in result.rounds:
        statuses.update(each.statuses)
    bad = [(name, count) for name, count in statuses.most_common() if name[0] != "2"]
    if not bad:
        return ""
    total = statuses.total()
    commonest, count = bad[0]
    hint = "" if result.target.is_own else _option(result, commonest)
    if count < total:
        parts = ", ".join(f"{some:,} were {_fate(name)}" for name, some in bad)
        lost = sum(some for _, some in bad)
        text = f"{lost:,} of {total:,} requests had no answer 2xx: {parts}"
        return f"{text}; look at {hint}." if hint else f"{text}."
    if commonest == NEVER_ANSWERED:
        return f"None of {total:,} requests was answered."
    text = f"All {total:,} answers were {commonest}"
    return f"{text}: look at {hint}." if hint else f"{text}."


def _fate(status: str) -> str:
    return "never answered" if status == NEVER_ANSWERED else status


def _option(result: Result, status: str) -> str:
    """Return the options that another server's refusals may come from; empty: none of them."""
    kinds = sorted(
        {group.kind for each in result.rounds for group in each.groups if group.fate == "refused"}
    )
    if status in {"401", "403"}:
        return " and ".join(dict.fromkeys(CREDENTIALS.get(kind, "--api-key") for kind in kinds))
    if status == "404":
        return "--tenant" if kinds == ["shopify"] else "--against"
    return ""
