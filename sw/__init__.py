"""Heddle: a generator of transformer accelerators, and the software that drives them."""

from .api import Result, linear, run
from .compiler import compile
from .device import Device, DeviceError, Golden, Rtl
from .graph import Graph
from .program import Program, ProgramFileError
from .rtl.geometry import PRESETS, Geometry, preset

__all__ = ["PRESETS", "Device", "DeviceError", "Geometry", "Golden", "Graph", "Program",
           "ProgramFileError", "Result", "Rtl", "compile", "linear", "preset", "run"]
