"""What README.md and docs/ tell people to type is right: it parses, it exists, and what can be run here is run.

In a fenced block of the language `sh`, every `pixelmill …` and every `docker compose run … client …` must parse against
the real command line, and every `make …` must name a target. A block behind the line `<!-- run -->` is run as written,
in a folder that holds `photos/` and `photo.jpg`. So is every `python` block of README.md, and each in docs/ that is
marked (a page may show fragments of source).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_line import parse, pixelmill_calls

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"sh", "python", "json", "yaml", "text", ""}
_FENCE = re.compile(
    r"(?P<run><!-- run -->\n\s*)?^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```", re.M | re.S
)
_COMPOSE_CLIENT = re.compile(r"docker compose run(?: --\S+)* client\b(.*)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. run: whether it is marked to be run."""

    page: str
    line: int
    language: str
    body: str
    run: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its shell commands, one a line: continued lines joined, a prompt dropped."""
        joined = self.body.replace("\\\n", " ")
        return [line.strip().removeprefix("$ ") for line in joined.splitlines() if line.strip()]


def blocks_of(text: str, page: str) -> list[Block]:
    return [
        Block(page, text.count("\n", 0, m.end("indent")) + 1, m["language"].strip(), m["body"], bool(m["run"]))
        for m in _FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page.read_text(), str(page.relative_to(ROOT)))]
SHELL = [block for block in BLOCKS if block.language == "sh"]
PYTHON = [block for block in BLOCKS if block.language == "python" and (block.run or block.page == "README.md")]
TO_RUN = [block for block in SHELL if block.run]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as the reader's may be: `photos/` and `photo.jpg` in it."""
    shutil.copytree(
        SAMPLES, tmp_path / "photos", ignore=lambda _, names: [n for n in names if n.endswith((".py", ".md"))]
    )
    shutil.copy(next(SAMPLES.rglob("*.jpg")), tmp_path / "photo.jpg")
    return tmp_path


def environment() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIXELMILL_")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["PYTHONPATH"] = str(ROOT)
    return env


def make_targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))


def test_the_readme_shows_both_commands_and_the_plain_ones_behind_them() -> None:
    readme = [command for block in SHELL if block.page == "README.md" for command in block.commands]

    assert any(command.startswith("make demo") for command in readme)
    assert any(command.startswith("make test") for command in readme)
    assert any(call[:1] == ["run"] for command in readme for call in pixelmill_calls(command))
    assert any("pytest" in command for command in readme)


def test_there_is_something_to_run_so_that_nothing_is_skipped_in_silence() -> None:
    assert TO_RUN, "no block of README.md is marked with <!-- run -->"
    assert PYTHON, "README.md shows no Python"


def test_every_block_is_of_a_language_this_test_knows() -> None:
    unknown = [f"{block} is {block.language!r}" for block in BLOCKS if block.language not in LANGUAGES]

    assert not unknown


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_pixelmill_command_parses(block: Block) -> None:
    for command in block.commands:
        for call in pixelmill_calls(command):
            parse(call)
        for words in _COMPOSE_CLIENT.findall(command):
            for call in pixelmill_calls(f"pixelmill {words}"):
                if call:
                    parse(call)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_make_target_exists(block: Block) -> None:
    named = {
        word
        for command in block.commands
        for line in re.findall(r"(?:^|&& *|; *)make +([^#&;|]*)", command)
        for word in line.split()
        if "=" not in word and not word.startswith("-")
    }

    assert named <= make_targets()


@pytest.mark.parametrize("block", TO_RUN, ids=str)
def test_blocks_marked_to_be_run_run(block: Block, desk: Path) -> None:
    assert not any(command.startswith("make") for command in block.commands), "a test must not set itself up again"

    done = subprocess.run(
        ["sh", "-eu", "-c", block.body], cwd=desk, env=environment(), capture_output=True, text=True, check=False,
        timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_blocks_run(block: Block, desk: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.body], cwd=desk, env=environment(), capture_output=True, text=True, check=False,
        timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_every_link_to_a_file_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert not broken


def test_blocks_marks_and_calls_are_read_as_written() -> None:
    text = """
<!-- run -->
```sh
pixelmill models   # what can run
PIXELMILL_BROKER=redis://:x@y:6379/0 pixelmill worker \\
    --root /data && echo 'pixelmill nonsense' | .venv/bin/pixelmill inspect photo.jpg > out.txt
```
```python
x = 1
```
"""

    first, second = blocks_of(text, "page")

    assert (first.line, first.run, first.language) == (3, True, "sh")
    assert (second.run, second.language, second.body) == (False, "python", "x = 1\n")
    assert [call for command in first.commands for call in pixelmill_calls(command)] == [
        ["models"],
        ["worker", "--root", "/data"],
        ["inspect", "photo.jpg"],
    ]
