"""Reports as Vivado writes them, of which the flow reads some lines."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Result

__all__ = ["BIT", "POWER", "UTILISATION", "route", "timing", "unclocked"]

BIT = (struct.pack(">H9sH", 9, bytes.fromhex("0ff00ff00ff00ff000"), 1)
       + b"".join(key + struct.pack(">H", 2) + b"x\0" for key in (b"a", b"b", b"c", b"d"))
       + b"e" + struct.pack(">I2I", 8, 0xAA995566, 0x20000000))
"""A bitstream of two words."""

UTILISATION = """
1. CLB Logic
------------

+----------------------------+--------+-------+------------+-----------+-------+
|          Site Type         |  Used  | Fixed | Prohibited | Available | Util% |
+----------------------------+--------+-------+------------+-----------+-------+
| CLB LUTs                   | 140312 |     0 |          0 |    274080 | 51.19 |
|   LUT as Logic             | 120110 |     0 |          0 |    274080 | 43.82 |
| CLB Registers              | 190222 |     0 |          0 |    548160 | 34.70 |
+----------------------------+--------+-------+------------+-----------+-------+

3. BLOCKRAM
-----------

| Block RAM Tile    | 600.5 |     0 |          0 |       912 | 65.84 |
|   RAMB36/FIFO*    |   590 |     0 |          0 |       912 | 64.69 |

4. ARITHMETIC
-------------

| DSPs           | 2112 |     0 |          0 |      2520 | 83.81 |
|   DSP48E2 only | 2112 |       |            |           |       |
"""

POWER = """
| Total On-Chip Power (W)  | 11.482       |
| Design Power Budget (W)  | Unspecified* |
"""

_TIMING = """
------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)  \
THS Failing Endpoints  THS Total Endpoints     WPWS(ns)     TPWS(ns)  TPWS Failing Endpoints  \
TPWS Total Endpoints
    -------      -------  ---------------------  -------------------      -------      -------  \
---------------------  -------------------     --------     --------  ----------------------  \
--------------------
{row}


{sentence}


| Clock Summary
Clock       Waveform(ns)         Period(ns)      Frequency(MHz)
-----       ------------         ----------      --------------
clk_pl_0    {{0.000 2.000}}        4.000           250.000
"""


def timing(result: Result) -> str:
    """Return the summary of timing."""
    columns, met = [], result.met
    for slack in (result.setup, result.hold, result.pulse_width):
        if slack is None:
            columns += ["NA", "NA", "NA", "NA"]
            continue
        bad = slack < 0
        met &= not bad
        endpoints = 0 if slack == float("inf") else 60831
        columns += [f"{slack:.3f}", f"{2 * slack if bad else 0:.3f}", f"{2 * bad}", f"{endpoints}"]
    sentence = ("All user specified timing constraints are met." if met
                else "Timing constraints are not met.")
    return _TIMING.format(row="".join(f"{column:>13}" for column in columns) + "  ",
                          sentence=sentence)


def unclocked(result: Result) -> str:
    """Return the check for registers without a clock."""
    text = f"""
1. checking no_clock ({result.unclocked})
------------------------
 There are {result.unclocked} register/latch pins with no clock"""
    return text + (" driven by root clock pin: x/Q (HIGH)\n" if result.unclocked else ".\n")


def route(result: Result) -> str:
    """Return the state of routing."""
    return f"""
Design Route Status
                                               :      # nets :
   ------------------------------------------- : ----------- :
   # of logical nets.......................... :      410000 :
       # of routable nets..................... :      300000 :
           # of fully routed nets............. : {300000 - result.unrouted:11} :
       # of nets with routing errors.......... : {result.unrouted:11} :
   ------------------------------------------- : ----------- :
"""
