"""What a gateway's client sends, and that it has the verbs and words of the queue's client."""

from __future__ import annotations

import email
import inspect
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ParameterError
from workers.client import Client
from workers.errors import SourceError
from workers.folder import Source
from workers.remote import RemoteClient
from workers.seeds import seeds
from workers.sending import Form, as_fields, files_of, in_words

VERBS = [name for name in vars(Client) if not name.startswith("_") and name != "submit_request"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_program_moves_from_the_queues_client_by_its_url_alone(verb: str) -> None:
    of_queue, of_gateway = (inspect.signature(getattr(kind, verb)).parameters for kind in (Client, RemoteClient))

    moved = {name: one for name, one in of_queue.items() if name != "wanted"}  # which the gateway itself asks
    assert set(moved) <= set(of_gateway)
    for name, one in moved.items():
        assert of_gateway[name].kind == one.kind


def test_a_form_is_read_by_a_parser_of_mail_as_it_was_meant(tmp_path: Path) -> None:
    (tmp_path / "ü b.jpg").write_bytes(b"picture")
    form = Form(as_fields({"params": {"score": 0.4}, "formats": ["coco", "csv"], "overlays": False, "deadline": 2.5}),
                [tmp_path / "ü b.jpg", b"more"])  # fmt: skip

    body = b"".join(form)

    assert len(body) == int(form.headers["Content-Length"])
    head = f"Content-Type: {form.headers['Content-Type']}\r\n\r\n".encode()
    parts: Any = email.message_from_bytes(head + body).get_payload()
    sent = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts[:4]}
    assert sent == {"params": b'{"score": 0.4}', "formats": b"coco,csv", "overlays": b"false", "deadline": b"2.5"}
    assert [part.get_payload(decode=True) for part in parts[4:]] == [b"picture", b"more"]
    assert parts[4].get_content_type() == "image/jpeg"
    assert 'filename="ü b.jpg"'.encode() in body


def test_folders_globs_and_lists_are_looked_through_before_they_are_sent(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "no.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_text("b.png\n")

    assert files_of([tmp_path]) == [tmp_path / "a.jpg", tmp_path / "b.png"]
    assert files_of(f"{tmp_path}/*.jpg") == [tmp_path / "a.jpg"]
    assert files_of([tmp_path / "list.txt", b"x"]) == [tmp_path / "b.png", b"x"]
    assert files_of(Source(tmp_path, ("a.jpg",))) == [tmp_path / "a.jpg"]
    with pytest.raises(SourceError, match="can't be read"):
        Form({}, files_of(tmp_path / "gone.jpg"))
    with pytest.raises(SourceError, match="no inputs"):
        Form({}, [])


def test_what_the_service_can_reach_is_named_and_not_uploaded() -> None:
    assert in_words(seeds(3, 7), False) == {"count": 3, "seed": 7}
    assert in_words(["/photos/*.jpg", Path("/a.jpg")], True) == {"inputs": ["/photos/*.jpg", "/a.jpg"]}
    assert in_words("https://images.example.org/1.jpg", False) == {"inputs": ["https://images.example.org/1.jpg"]}
    assert in_words(["a.jpg"], False) is None
    with pytest.raises(SourceError, match="some are not"):
        in_words(["https://images.example.org/1.jpg", b"x"], False)
    with pytest.raises(SourceError, match="no reference"):
        in_words([b"x"], True)


def test_a_gateways_client_does_not_choose_the_provider() -> None:
    client = RemoteClient("http://127.0.0.1:1")

    with pytest.raises(ParameterError, match="provider"):
        client.submit("classify", b"x", provider="cuda")
    with pytest.raises(ParameterError, match="provider"):
        client.run("classify", b"x", allow_fallback=True)
