"""`pixelmill dead`: what was given up, why, and again once the cause is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from workers.commands.job_words import broker_option, exit_status, printable, say

if TYPE_CHECKING:
    from workers.client import Client
    from workers.deadletters import DeadLetter, DeadLetters


@click.group(
    epilog="""\b
Examples:
  pixelmill dead list
  pixelmill dead show 4f1c
  pixelmill dead retry --all --wait
"""
)
def dead() -> None:
    """Look into the dead letters: images that ended every process that worked on them, and messages that are none."""


@dead.command("list")
@click.option("--job", metavar="JOB", help="Only those of this job.")
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print them as a JSON array.")
def list_(job: str | None, broker: str | None, as_json: bool) -> None:
    """List the dead letters, the oldest first."""
    letters = _letters(broker).list(job)
    if as_json:
        click.echo(json.dumps([letter.model_dump(mode="json") for letter in letters], indent=2))
        return
    for letter in letters:
        what = printable(letter.image or "") if letter.kind == "image" else "a message"
        click.echo(f"{letter.id}  {_moment(letter)}  {letter.code:<13}  {what}: {letter.cause}")
    if not letters:
        click.echo("no dead letters")


@dead.command()
@click.argument("letter")
@broker_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(letter: str, broker: str | None, as_json: bool) -> None:
    """Show one dead letter by its id, or the beginning of it."""
    found = _find(_letters(broker), letter)
    if as_json:
        click.echo(json.dumps(found.model_dump(mode="json"), indent=2))
        return
    rows = [
        ("what", "an image" if found.kind == "image" else "a message"),
        ("image", printable(_path(found))),
        ("job", found.job or ""),
        ("code", found.code),
        ("cause", found.cause),
        ("attempts", "; ".join(found.causes)),
        ("at", f"{_moment(found)}, given up on {found.host}"),
        ("message", printable(found.message[:2000]) if found.kind == "message" else ""),
    ]
    click.echo("\n".join([found.id, *(f"  {name:<10}{text}" for name, text in rows if text)]))


@dead.command()
@click.argument("letters", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All images among the dead letters.")
@click.option("--wait", is_flag=True, help="Wait until they are done.")
@broker_option
def retry(letters: tuple[str, ...], everything: bool, wait: bool, broker: str | None) -> int:
    """Try images again, as new jobs into the folders of their old ones; prints the ids of these jobs.

    Exit status: 0 submitted (with --wait: all done), 3 done with failures, 1 could not run.
    """
    from workers.commands.job_words import client_for

    if bool(letters) == everything:
        raise click.UsageError("name dead letters, or give --all")
    client, box = client_for(broker), _letters(broker)
    found = [one for one in box.list() if one.kind == "image"] if everything else [_find(box, one) for one in letters]
    jobs = [_send_again(client, box, same) for same in _by_job(found)]
    for job in jobs:
        click.echo(job)
    codes = [0]
    for job in jobs if wait else ():
        status = client.wait(job)
        codes.append(exit_status(status))
        click.echo(say(status), err=True)
    return max(codes, key=(0, 3, 1).index)


@dead.command()
@click.argument("letters", nargs=-1, required=True)
@broker_option
def remove(letters: tuple[str, ...], broker: str | None) -> None:
    """Throw dead letters away; an image's failure stays in its job's results."""
    box = _letters(broker)
    box.remove(*(_find(box, one).id for one in letters))


def _by_job(letters: list[DeadLetter]) -> list[list[DeadLetter]]:
    from workers.errors import JobError

    by_job: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        if letter.kind != "image":
            raise JobError(
                f"dead letter {letter.id} is no image but a message that is none ({letter.cause}): it can only be "
                "shown and removed"
            )
        by_job.setdefault(letter.job or "", []).append(letter)
    return list(by_job.values())


def _send_again(client: Client, box: DeadLetters, letters: list[DeadLetter]) -> str:
    """Submit the images of one job's letters, and take the letters out; gives the new job's id."""
    from pathlib import Path

    from workers.job_request import Request
    from workers.jobs import Shard
    from workers.seeds import some_of

    spec = Shard.model_validate(json.loads(letters[0].message)["payload"]).spec
    images = some_of(spec, {letter.image or "" for letter in letters})
    request = Request(
        spec.pipeline, spec.root, Path(spec.output), spec.model, spec.params, spec.overlays, True, spec.provider,
        spec.allow_fallback, spec.priority, images=images, formats=spec.formats,
        concurrency=spec.concurrency,
    )  # fmt: skip
    job = client.submit_request(request)
    box.remove(*(letter.id for letter in letters))
    return job


def _letters(broker: str | None) -> DeadLetters:
    from workers.deadletters import DeadLetters
    from workers.errors import BrokerError
    from workers.settings import settings
    from workers.store import JobStore

    config = settings()
    url = (config.store if broker is None else None) or broker or config.broker
    if url is None:
        raise BrokerError("there is no service to ask: set PIXELMILL_BROKER or give --broker")
    store = JobStore(url)
    store.ping()
    return DeadLetters(store)


def _find(box: DeadLetters, name: str) -> DeadLetter:
    from workers.errors import JobError

    found = box.get(name)
    if found is None:
        raise JobError(f"there is no dead letter {name!r}, or more than one begins so: `pixelmill dead list` has them")
    return found


def _path(letter: DeadLetter) -> str:
    try:
        return f"{json.loads(letter.message)['payload']['spec']['root']}/{letter.image}"
    except (ValueError, KeyError, TypeError):
        return letter.image or ""


def _moment(letter: DeadLetter) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(letter.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
