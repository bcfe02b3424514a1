"""Heddle: a generator of transformer accelerators, and the software that drives them."""

from .api import Result, attention, linear, run
from .compiler import compile
from .device import Device, DeviceError, Golden, Rtl
from .graph import Graph
from .models import load_model
from .patterns import Pattern
from .program import Program, ProgramFileError
from .rtl.geometry import PRESETS, Geometry, preset

__all__ = ["PRESETS", "Device", "DeviceError", "Geometry", "Golden", "Graph", "Pattern", "Program",
           "ProgramFileError", "Result", "Rtl", "attention", "compile", "linear", "load_model",
           "preset", "run"]
