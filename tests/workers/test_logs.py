"""What stands in a log line, and what never does."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from workers import logs
from workers.logs import LogFormat
from workers.settings import Settings

SECRET = 'pass"word/1'
CONFIG = Settings(broker="redis://:pass%22word%2F1@queue:6379/0", store="rediss://user:0ther-secret@store:6379/1")


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.Logger("pixelmill.test")
    yield logger


def written(logger: logging.Logger, form: LogFormat) -> io.StringIO:
    """Where the lines go that the logger writes from now on."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.handlers = [handler]
    logs.dress(logger, form, CONFIG)
    return text


def test_a_json_line_names_job_shard_and_image_in_work(log: logging.Logger) -> None:
    text = written(log, "json")

    with logs.at_work("job-1", "00000007"):
        logs.on_image("cats/a.jpg")
        log.warning("truncated after %d bytes", 12)
        logs.on_image(None)
        log.info("done")
    log.info("idle")

    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    assert [(one["job"], one["shard"], one["image"]) for one in lines] == [
        ("job-1", "00000007", "cats/a.jpg"),
        ("job-1", "00000007", None),
        (None, None, None),
    ]
    assert (lines[0]["level"], lines[0]["message"]) == ("WARNING", "truncated after 12 bytes")


def test_each_thread_has_its_own_image_and_all_have_the_shard(log: logging.Logger) -> None:
    text = written(log, "json")

    def work(name: str) -> None:
        logs.on_image(name)
        log.info("at work")

    with logs.at_work("job-1", "00000001"):
        logs.on_image("mine.jpg")
        other = threading.Thread(target=work, args=("other.jpg",))
        other.start()
        other.join()
        log.info("at work")
        logs.on_image(None)

    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    assert [(one["shard"], one["image"]) for one in lines] == [("00000001", "other.jpg"), ("00000001", "mine.jpg")]


def test_a_line_about_another_job_says_so(log: logging.Logger) -> None:
    text = written(log, "json")

    log.info("its process died", extra={"job": "job-9", "shard": "close"})

    line = json.loads(text.getvalue())
    assert (line["job"], line["shard"]) == ("job-9", "close")


def test_an_error_and_line_breaks_stay_one_line(log: logging.Logger) -> None:
    text = written(log, "json")

    try:
        int("first\nsecond")
    except ValueError:
        log.exception("a\nb")

    (line,) = [json.loads(one) for one in text.getvalue().splitlines()]
    assert line["message"] == "a\nb"
    assert "ValueError: invalid literal" in line["error"]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "said",
    [
        f"Cannot connect to redis://:{SECRET}@queue:6379/0",
        f"the password is {SECRET}",
        "it was pass%22word%2F1",
        "rediss://user:0ther-secret@store:6379/1 and amqp://me:what-ever@rabbit//",
        "https://someone:0ther-secret@example.org/hook",
    ],
)
def test_no_password_gets_into_a_line(log: logging.Logger, form: LogFormat, said: str) -> None:
    text = written(log, form)

    try:
        {}[said]
    except KeyError:
        log.exception("%s", said)

    for secret in (SECRET, json.dumps(SECRET)[1:-1], "pass%22word", "0ther-secret", "what-ever"):
        assert secret not in text.getvalue()
    assert "***" in text.getvalue()


@pytest.mark.parametrize("said", ["http://host:8080/a@b.jpg", "12:30 me@example.org", "redis://queue:6379/0"])
def test_what_is_no_password_stays(log: logging.Logger, said: str) -> None:
    text = written(log, "text")

    log.info(said)

    assert text.getvalue() == f"INFO {said}\n"
