"""The stand-in as a program that takes what the flow gives to Vivado: ``python -m vivado …``.

The environment variable ``VIVADO_RESULT`` may hold fields of :class:`~vivado.Result`.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from . import Result, batch

parser = argparse.ArgumentParser()
parser.add_argument("-mode", choices=["batch"], required=True)
parser.add_argument("-source", type=Path, choices=[Path("build.tcl")], required=True)
parser.add_argument("-tclargs", nargs="*", default=[])
arguments = parser.parse_args()
result = Result(**json.loads(os.environ.get("VIVADO_RESULT", "{}")))
outcome, _ = batch(arguments.source.absolute().parent, result, " ".join(arguments.tclargs))
print(outcome.output, outcome.error, sep="")
sys.exit(bool(outcome.error))
