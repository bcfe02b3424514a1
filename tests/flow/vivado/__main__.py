"""The stand-in as a program that takes what the flow gives to Vivado: ``python -m vivado …``.

The environment variable ``VIVADO_RESULT`` may hold fields of :class:`~vivado.project.Result`.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from . import Result, Vivado, run

parser = argparse.ArgumentParser()
parser.add_argument("-mode", choices=["batch"], required=True)
parser.add_argument("-source", type=Path, required=True)
parser.add_argument("-tclargs", nargs="*", default=[])
arguments = parser.parse_args()
vivado = Vivado(Path.cwd(), Result(**json.loads(os.environ.get("VIVADO_RESULT", "{}"))))
outcome = run(arguments.source.absolute(), vivado.answer, vivado.commands(),
              " ".join(arguments.tclargs))
print(outcome.output, outcome.error, sep="")
sys.exit(bool(outcome.error))
