"""Words and numbers for the report's page, safe to stand in HTML."""

from __future__ import annotations

import html
from datetime import datetime

from workers.lines import printable


def text(value: object) -> str:
    """Escape anything for HTML text and quoted attributes; what can't be shown becomes U+FFFD."""
    return html.escape(printable(str(value)), quote=True)


def remark(sentence: str) -> str:
    """A remark under a list that does not show all."""
    return f'<p class="note">{sentence} All results are in <a href="results.jsonl">results.jsonl</a>.</p>'


def counted(number: int, noun: str) -> str:
    """Give a number with its noun, in the plural where due."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def figure(value: float) -> str:
    """Write a measurement with three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Write seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def date(value: object) -> str:
    """Write an ISO 8601 moment for a title; what is none stays as it is, nothing stays empty."""
    try:
        moment = datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return str(value)
    return f"{moment.day} {moment:%B %Y, %H:%M}" if moment else ""


def moment(value: object) -> str:
    """Write an ISO 8601 moment to the second."""
    try:
        return datetime.fromisoformat(str(value)).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    except ValueError:
        return str(value)
