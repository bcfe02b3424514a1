"""Folders for Vivado, as they are written for accelerators of several geometries.

They consist of their ports alone, which is all that the flow looks at.
"""

import shutil

import pytest
from amaranth import Module

from heddle.boards.zcu102.flow import Zcu102
from heddle.rtl.accelerator import Accelerator
from heddle.rtl.geometry import PRESETS

GEOMETRIES = {
    1: PRESETS["tiny"].replace(dma_ports=1),
    2: PRESETS["tiny"],
    4: PRESETS["tiny"].replace(dma_ports=4, address_bits=40, dma_bytes=8),
}


@pytest.fixture
def hollow(monkeypatch):
    """Make accelerators that consist of their ports."""
    monkeypatch.setattr(Accelerator, "elaborate", lambda self, platform: Module())


@pytest.fixture(scope="session")
def geometries():
    """Geometries by the number of their memory ports."""
    return GEOMETRIES


@pytest.fixture
def written(hollow, tmp_path):
    """Write the folder of a geometry, given by the number of its memory ports."""
    def write(ports):
        folder = tmp_path / f"{ports} ports"
        folder.mkdir()
        Zcu102().write(GEOMETRIES[ports], folder, 250)
        return folder

    return write


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """The folder for two memory ports, written once."""
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Accelerator, "elaborate", lambda self, platform: Module())
        Zcu102().write(GEOMETRIES[2], folder, 250)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy of it."""
    return shutil.copytree(original, tmp_path / "build")
