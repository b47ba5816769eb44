"""Does a command line parse against the real CLI? Nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import click

from workers.cli import cli

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "2>", "<"}


def parse(arguments: Sequence[str]) -> click.Context:
    """Parse what stands after `pixelmill`. Raises click.UsageError, as the user would see it."""
    group = cli.make_context("pixelmill", list(arguments), resilient_parsing=True)
    _, rest, _ = cli.make_parser(group).parse_args(list(arguments))
    if not rest:
        if any(a in ("-h", "--help", "--version") for a in arguments):
            return group
        raise click.UsageError("a command is missing")
    name, command, words = cli.resolve_command(group, rest)
    assert command is not None
    assert name is not None
    if any(word in ("-h", "--help") for word in words):
        return group
    return command.make_context(name, list(words), parent=group)


def pixelmill_calls(line: str) -> list[list[str]]:
    """The arguments of every call of `pixelmill` in a shell command line.

    Assignments before the name, pipes and redirections are understood; a comment is dropped.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    calls: list[list[str]] = []
    at_start, current = True, None
    for word in lexer:
        if word in _ENDS:
            at_start, current = word not in (">", ">>", "2>", "<"), None
        elif at_start and _ASSIGNMENT.match(word):
            continue
        elif at_start and word.rpartition("/")[2] == "pixelmill":
            current = []
            calls.append(current)
            at_start = False
        else:
            at_start = False
            if current is not None:
                current.append(word)
    return calls
