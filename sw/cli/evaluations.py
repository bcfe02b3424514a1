"""The commands ``heddle evaluate``: how well trained networks do, beside floating point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..rtl.geometry import Geometry
from .options import POSITIVE, device_option, geometry_option, json_option
from .output import console, print_markdown, running, save

if TYPE_CHECKING:
    from ..evaluate import Evaluation

__all__ = ["evaluate"]


@click.group()
def evaluate() -> None:
    """Measure the accuracy of trained networks."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every evaluation."""
    first = click.option("--first", type=POSITIVE, help="Only the first texts, chains, windows or "
                                                        "images; by default all.")
    for option in json_option, first, device_option("golden"), geometry_option:
        command = option(command)
    return command


def _evaluate(evaluations: Sequence[Callable[..., Evaluation]], *, geometry: Geometry, device: str,
              first: int | None, file: Path | None) -> None:
    """Carry out evaluations, print a table of each, and write them as JSON if a file is named."""
    from ..evaluate import table

    with running(geometry, device) as status:
        done = [evaluation(geometry=geometry, device=device, first=first,
                           progress=lambda count: status.update(f"{count:,} sequences are done"))
                for evaluation in evaluations]
    for each in done:
        console.print(table(each))
    save([each.as_dict() for each in done], file)


@evaluate.command()
@_options
def lee(**options: Any) -> None:
    """Compare MiniLM's similarities of news texts with those that people gave."""
    from ..evaluate import evaluate_lee

    _evaluate([evaluate_lee], **options)


@evaluate.command()
@_options
def polarity(**options: Any) -> None:
    """Tell film reviews in favour from others by MiniLM's embeddings."""
    from ..evaluate import evaluate_polarity

    _evaluate([evaluate_polarity], **options)


@evaluate.command()
@_options
def sapiens(**options: Any) -> None:
    """Name masked residues of antibodies."""
    from ..evaluate import evaluate_sapiens

    _evaluate([evaluate_sapiens], **options)


@evaluate.command()
@_options
def characters(**options: Any) -> None:
    """Guess the next character of a text."""
    from ..evaluate import evaluate_characters

    _evaluate([evaluate_characters], **options)


@evaluate.command()
@click.option("--model", type=click.Choice(["dense", "80", "90"]), multiple=True,
              default=["dense", "80", "90"], help="A model, or several; by default all.")
@_options
def digits(model: tuple[str, ...], **options: Any) -> None:
    """Read handwritten digits with vision transformers, dense and pruned."""
    from ..evaluate import evaluate_digits

    _evaluate([partial(evaluate_digits, level) for level in model], **options)


@evaluate.command()
@geometry_option
@click.option("--texts", type=POSITIVE, default=30, show_default=True,
              help="Texts that are embedded.")
def ablations(geometry: Geometry, texts: int) -> None:
    """Change one choice of the number formats at a time, and print MiniLM's table as Markdown."""
    from ..evaluate.ablations import COLUMNS, ablations

    print_markdown(COLUMNS, 1, ablations(geometry, texts))
