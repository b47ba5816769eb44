"""The models of a process under a budget, with shipped models that are really loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipelines.catalog import SHIPPED
from pipelines.errors import ModelError
from pipelines.pipeline import Pipeline, build
from workers.model_cache import ModelCache

MB = 2**20
AMPLE = 1024 * MB
SMALL, MIDDLE, LARGE = "lenet5", "efficientnet-lite0", "ssd-mobilenet-v2"
OTHER = "smears-yolo-seg"  # takes more than the 4 MB that are over


class Loads:
    """Takes models from a cache, and remembers what had to be loaded."""

    def __init__(self, budget: int) -> None:
        self.cache = ModelCache(budget)
        self.names: list[str] = []

    def loader(self, name: str) -> Callable[[], Pipeline]:
        def load() -> Pipeline:
            self.names.append(name)
            return build(SHIPPED / f"{name}.onnx", provider="cpu")

        return load

    def use(self, *names: str) -> None:
        """Use one after the other."""
        for name in names:
            with self.cache.use(name, partial(files, name), self.loader(name)) as pipeline:
                assert pipeline.card.name == name

    @property
    def held(self) -> list[str]:
        return [one.pipeline.card.name for one in self.cache.held()]


def files(name: str) -> int:
    return Path(SHIPPED / f"{name}.onnx").stat().st_size


def measured(name: str) -> int:
    """What a model takes by the cache's own measure, loaded into a process that has loaded others before."""
    loads = Loads(AMPLE)
    loads.use(SMALL, name)
    return loads.cache.held()[-1].bytes


def test_two_models_that_fit_alternate_without_loading_again() -> None:
    loads = Loads(AMPLE)

    loads.use(*[MIDDLE, LARGE] * 10)

    assert loads.names == [MIDDLE, LARGE]
    assert loads.held == [MIDDLE, LARGE]


def test_the_least_recently_used_is_put_out_first() -> None:
    loads = Loads(measured(LARGE) + measured(MIDDLE) + 4 * MB)

    loads.use(MIDDLE, LARGE, MIDDLE, OTHER)  # the large one was used before the middle one
    first = loads.held
    loads.use(MIDDLE, LARGE)

    assert first == [MIDDLE, OTHER]
    assert loads.held == [MIDDLE, LARGE]
    assert loads.names == [MIDDLE, LARGE, OTHER, LARGE]


def test_a_budget_for_one_of_two_models_holds_one_at_a_time() -> None:
    loads = Loads(measured(LARGE) + 4 * MB)

    loads.use(LARGE, MIDDLE, LARGE)

    assert loads.names == [LARGE, MIDDLE, LARGE]
    assert loads.held == [LARGE]


def test_a_model_in_use_is_never_put_out() -> None:
    loads = Loads(0)

    with loads.cache.use(LARGE, lambda: files(LARGE), loads.loader(LARGE)):
        loads.use(MIDDLE, SMALL)
        while_used = loads.held
        loads.use(LARGE)
    loads.use(SMALL)

    assert while_used == [LARGE, SMALL]
    assert loads.names == [LARGE, MIDDLE, SMALL, SMALL]
    assert loads.held == [SMALL]


def test_a_model_above_the_budget_is_loaded_alone_and_kept() -> None:
    loads = Loads(20 * MB)

    loads.use(MIDDLE, LARGE, LARGE)

    assert loads.names == [MIDDLE, LARGE]
    assert loads.held == [LARGE]


def test_a_model_takes_at_least_its_files_and_what_the_process_grew_by() -> None:
    loads = Loads(AMPLE)

    loads.use(SMALL, LARGE)

    small, large = loads.cache.held()
    assert files(SMALL) <= small.bytes <= 8 * files(SMALL)  # though libraries are loaded with the first one
    assert 2 * files(LARGE) < large.bytes <= 8 * files(LARGE)  # its weights are stored as fp16 and held as fp32


def test_what_another_thread_takes_meanwhile_is_not_counted_to_the_end() -> None:
    elsewhere: list[bytearray] = []
    loads = Loads(AMPLE)

    def load() -> Pipeline:
        elsewhere.append(bytearray(b"1") * (200 * MB))
        return loads.loader(SMALL)()

    with loads.cache.use(SMALL, lambda: files(SMALL), load):
        (held,) = loads.cache.held()

    assert held.bytes == 8 * files(SMALL)


def test_a_model_that_does_not_load_is_not_held_and_is_tried_again() -> None:
    loads = Loads(AMPLE)

    def fail() -> Pipeline:
        raise ModelError("no such model")

    with pytest.raises(ModelError, match="no such model"):
        loads.cache.use(SMALL, lambda: 0, fail).__enter__()
    loads.use(SMALL)

    assert loads.names == [SMALL]
    assert loads.held == [SMALL]
