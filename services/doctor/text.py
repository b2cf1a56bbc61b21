"""What `constellation doctor` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict

import orjson

from services.doctor.facts import Finding

LABELS = (("why", "why"), ("mend", "mend"))


def as_text(findings: Sequence[Finding], *, control: str, checks: int, width: int) -> str:
    """Return the findings, each with why it matters and how it is mended."""
    if not findings:
        return f"{control}: {checks} checks, nothing found\n"
    told = [_finding(number, each, width) for number, each in enumerate(findings, 1)]
    grave = sum(each.is_grave for each in findings)
    count = "one finding" if len(findings) == 1 else f"{len(findings)} findings"
    return "\n".join(told) + f"\n{control}: {checks} checks, {count}, {grave} grave\n"


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as a list of objects."""
    told = [asdict(each) for each in findings]
    return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _finding(number: int, finding: Finding, width: int) -> str:
    head = f"{number}. {'!' if finding.is_grave else '-'} "
    lines = [_wrapped(finding.what, head, width)]
    for label, name in LABELS:
        lines.append(_wrapped(getattr(finding, name), f"   {label + ':':<6}", width))
    return "".join(lines)


def _wrapped(text: str, head: str, width: int) -> str:
    lines = textwrap.wrap(
        text,
        width=width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "".join(line + "\n" for line in lines)
