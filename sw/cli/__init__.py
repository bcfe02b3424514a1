"""The command ``heddle``: a file for each group of commands that belong together.

Every file is imported to show the help, so heavy modules are imported by the command that needs
them.
"""

from __future__ import annotations

import click

from .benches import bench
from .boards import bitstream, load, probe, report
from .evaluations import evaluate
from .hardware import explore, synth, verilog
from .overview import info, models
from .programs import demo, embed, run, trace

__all__ = ["main"]


class _Group(click.Group):
    """Shows what is wrong with an input as one sentence, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except (ValueError, TypeError, RuntimeError, OSError, ModuleNotFoundError) as error:
            if ctx.params["traceback"]:
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]},
             commands=[bench, bitstream, demo, embed, evaluate, explore, info, load, models, probe,
                       report, run, synth, trace, verilog])
@click.version_option(package_name="heddle")
@click.option("--traceback", is_flag=True, help="Show where in the program an error arose.")
def main(traceback: bool) -> None:
    """Generate transformer accelerators, compile for them, and run them in simulation."""
