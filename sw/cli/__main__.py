"""The command, as ``python -m heddle.cli``."""

from . import main

main()
