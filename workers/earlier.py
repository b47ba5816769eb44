"""What earlier attempts at a shard left, and whom to blame for those that died.

Bisecting a shard until its poison image stands alone would take a death for each halving. The journals tell more: which
images an attempt had begun and not finished when it died. Those are suspects. They run last and alone, the ones with
the fewest deaths first, so that the innocent are done before the guilty strikes again, and what an attempt dies of then
is known to be that image's doing.

A death counts against an image if its cause is known: the worker's parent saw how the process ended, or the process
itself went over a limit. If a whole worker vanished, nobody knows why; somebody may have pulled a plug. Only many such
losses count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workers.journal import Line, journal_folder, names_image, read_lines

if TYPE_CHECKING:
    from pipelines.errors import ImageErrorCode

FATAL_DEATHS = 3  # so many deaths of known cause over one image are its fault
FATAL_LOSSES = 10  # so many attempts that vanished, whatever the reason, too
FATAL_BEGINNINGS = 5  # so many processes that died before any image was begun: the model can't be loaded here
FATAL_VANISHINGS = 20  # so many attempts that vanished before any image was begun

OVER_TIME, OVER_MEMORY = "exceeded", "out of memory"  # how the causes of a limit begin


@dataclass(frozen=True, slots=True)
class Vain:
    """A start of an image without a result. attempt: which. stage: what was done with it; known if it ran alone."""

    attempt: str
    stage: str = ""

    @property
    def alone(self) -> bool:
        """Whether no other image was in work, so that what happened was its doing."""
        return bool(self.stage)


@dataclass(slots=True)
class Earlier:
    """What earlier attempts at a shard left: finished lines by name, and the starts of each name that came to nothing.

    attempts: those that got as far as opening a journal, by the random part of their token.
    causes: what ended attempts, by the same, as far as known.
    """

    attempts: set[str] = field(default_factory=set)
    finished: dict[str, Line] = field(default_factory=dict)
    vain: dict[str, list[Vain]] = field(default_factory=dict)
    causes: dict[str, str] = field(default_factory=dict)

    def deaths_before_any_image(self) -> int:
        """Processes known to have died before they opened a journal."""
        return len(self.causes.keys() - self.attempts)

    def suspects(self, names: list[str]) -> list[str]:
        """Those of the names that were in work when an attempt ended, the least suspicious first."""
        return sorted((name for name in names if name in self.vain), key=lambda name: len(self.vain[name]))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an image is given up. cause: in words. causes: of each attempt that died over it."""

    code: ImageErrorCode
    cause: str
    causes: tuple[str, ...]


def earlier_attempts(output: Path, job: str, shard: str, deaths: Mapping[str, str]) -> Earlier:
    """Read the journals of a shard's earlier attempts.

    deaths: what ended attempts as their parents saw it, token → cause.
    """
    earlier = Earlier(causes={random_part(token): cause for token, cause in deaths.items()})
    for path in sorted(journal_folder(output, job).glob(f"{shard}.*.jsonl")):
        attempt = path.name.split(".")[1]
        earlier.attempts.add(attempt)
        stages: dict[str, str] = {}
        for line in read_lines(path):
            if "start" in line:
                stages[line["start"]] = str(line.get("stage", ""))
            elif "stopped" in line:  # a limit: the process ended itself, and says over which images
                earlier.causes.setdefault(attempt, str(line["stopped"]))
                stages = {name: stage for name, stage in stages.items() if name in line.get("over", ())}
            elif names_image(line):
                earlier.finished[line["image"]] = line
                stages.pop(line["image"], None)
        for name, stage in stages.items():
            earlier.vain.setdefault(name, []).append(Vain(attempt, stage))
    for name in earlier.finished:
        earlier.vain.pop(name, None)
    return earlier


def judge(earlier: Earlier, name: str) -> Verdict | None:
    """Whether an image is to be given up for what it did to earlier attempts, and why."""
    starts = earlier.vain.get(name, [])
    known = [(start, earlier.causes[start.attempt]) for start in starts if start.attempt in earlier.causes]
    proven = [start for start, cause in known if start.alone and cause.startswith((OVER_TIME, OVER_MEMORY))]
    if len(known) < FATAL_DEATHS and not proven and len(starts) < FATAL_LOSSES:
        return None
    causes = tuple(dict.fromkeys(cause for _, cause in known))
    if not known:
        return Verdict("crashed", f"{len(starts)} workers vanished while they worked on this image", ())
    last = next((one for one in reversed(known) if one[0].alone), known[-1])
    code: ImageErrorCode = (
        "timed_out" if last[1].startswith(OVER_TIME) else
        "out_of_memory" if last[1].startswith(OVER_MEMORY) else
        "crashed"
    )  # fmt: skip
    times = f", {len(known)} times" if len(known) > 1 else ""
    return Verdict(code, f"{last[1]} while {last[0].stage or 'at work on it'}{times}", causes)


def random_part(token: str) -> str:
    """The part of an attempt's token that names its journal."""
    return token.rpartition(":")[2]
