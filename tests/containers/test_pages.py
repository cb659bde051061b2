"""The page about images: its blocks run in containers, and print the expected output."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from rescalehtc.emulator import Emulator

from ..docs.test_pages import OF_IMAGES, Page, names_on, run_blocks
from .conftest import IMAGE, run

if TYPE_CHECKING:
    from rescalehtc.container_registry import HtcContainerRegistry


def test_the_page_about_images_is_true(engine, tmp_path, monkeypatch):
    if run(engine, "images", "--quiet", "solver:1").strip():
        pytest.skip("the page would replace an image of this machine, solver:1")
    run(engine, "tag", IMAGE, "solver:1")
    with (
        Emulator(runner="container", slots=2) as emulator,
        names_on(emulator, tmp_path, monkeypatch) as names,
    ):
        run_blocks(OF_IMAGES, Page(names))
        registry = cast("HtcContainerRegistry", names["registry"])
        run(engine, "rmi", "solver:1", f"{registry.registry_url}{names['image_name']}")
