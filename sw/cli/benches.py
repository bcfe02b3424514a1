"""The commands ``heddle bench``: what is run, how long it takes, and whether every bit is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..rtl.geometry import Geometry
from .options import (
    POSITIVE,
    device_option,
    geometry_option,
    json_option,
    layers_option,
    seed_option,
)
from .output import print_markdown, print_report, running

__all__ = ["bench"]

_tokens = click.option("--tokens", type=POSITIVE, required=True, help="Rows of the input.")
_inputs = click.option("--inputs", type=POSITIVE, required=True, help="Features of the input.")
_dim = click.option("--dim", type=POSITIVE, required=True, help="Features of a head.")


@click.group()
def bench() -> None:
    """Measure."""


def _measure(workload: Callable[..., dict[str, Any]], *, geometry: Geometry, device: str,
             file: Path | None, **sizes: Any) -> None:
    """Run a function of :mod:`heddle.benchmarks` with the options of its command, and report."""
    with running(geometry, device):
        report = workload(geometry=geometry, device=device, **sizes)
    print_report(report, file)


@bench.command()
@_tokens
@_inputs
@click.option("--outputs", type=POSITIVE, required=True, help="Features of the output.")
@click.option("--sparsity", default="dense", show_default=True,
              help="Of the weights: dense, 0.8 of the inputs of each block, 2:4 candidates, both "
                   "as 0.8+2:4, or random:0.9.")
@geometry_option
@device_option("rtl")
@json_option
@seed_option
def gemm(**options: Any) -> None:
    """Run a linear layer of random weights on random activations."""
    from ..benchmarks import gemm

    _measure(gemm, **options)


@bench.command()
@click.option("--tokens", type=POSITIVE, required=True, help="Queries.")
@click.option("--heads", type=POSITIVE, required=True, help="Heads of the queries.")
@_dim
@click.option("--keys", type=POSITIVE, help="Keys, if not as many as queries.")
@click.option("--kv-heads", type=POSITIVE,
              help="Heads of keys and values, if fewer than of queries.")
@click.option("--pattern", default="dense", show_default=True,
              help="dense, causal, window:W, dilated:W:D, global:G, length:N or "
                   "block:SIZE:DENSITY, or several joined by +.")
@click.option("--sigma", type=click.FloatRange(0), default=1.0, show_default=True,
              help="Spread of the scores.")
@geometry_option
@device_option("rtl")
@json_option
@seed_option
def attention(**options: Any) -> None:
    """Run attention of random queries, keys and values."""
    from ..benchmarks import attention

    _measure(attention, **options)


@bench.command()
@_tokens
@_inputs
@click.option("--heads", type=POSITIVE, required=True, help="Heads.")
@_dim
@geometry_option
@device_option("rtl")
@json_option
@click.option("--unlimited", is_flag=True, help="RTL with a memory that never limits.")
def block(geometry: Geometry, device: str, file: Path | None, unlimited: bool,
          **sizes: int) -> None:
    """Run an attention block with its four projections as one program."""
    from ..benchmarks import block
    from ..device import Device, Rtl

    if unlimited and device != "rtl":
        raise ValueError(f"A memory that never limits needs the device rtl, not {device}")
    memory: str | Device = Rtl(geometry, latency=0, bandwidth=0) if unlimited else device
    with running(geometry, device):
        report = block(**sizes, geometry=geometry, device=memory)
    print_report(report, file)


@bench.command()
@click.option("--tokens", type=POSITIVE, default=512, show_default=True,
              help="Rows of the input.")
@click.option("--size", type=POSITIVE, default=1024, show_default=True,
              help="Features of input and output.")
@device_option("rtl")
def sparse(tokens: int, size: int, device: str) -> None:
    """Run a layer at all levels of sparsity, and print the table as Markdown."""
    from ..sparse import COLUMNS, measure

    print_markdown(COLUMNS, 2, measure(size=size, tokens=tokens, device=device))


@bench.command()
@layers_option
@device_option("rtl")
def pruned(layers: int, device: str) -> None:
    """Run the attention blocks of MiniLM, pruned to several levels, and print the table."""
    from ..pruned_blocks import COLUMNS, measure

    print_markdown(COLUMNS, 2, measure(layers=layers, device=device))


@bench.command()
@click.option("--size", type=POSITIVE, default=1024, show_default=True,
              help="Outputs and inputs of the weight.")
def formats(size: int) -> None:
    """Pack a weight at all levels of sparsity, and print its bytes as Markdown."""
    from ..sparse import STORAGE_COLUMNS, storage

    print_markdown(STORAGE_COLUMNS, 2, storage(size=size))


@bench.command()
@click.option("--tokens", type=click.IntRange(3), default=128, show_default=True,
              help="Tokens of text; more than 256 are several sequences.")
@geometry_option
@device_option("rtl")
@json_option
def minilm(**options: Any) -> None:
    """Run all layers of a pretrained sentence encoder as one program."""
    from ..benchmarks import minilm

    _measure(minilm, **options)


@bench.command("transformer-base")
@click.option("--sparsity", type=click.FloatRange(0, 1, max_open=True), default=0.8,
              show_default=True, help="Share of the columns of each type of weight to prune.")
@click.option("--tokens", type=POSITIVE, default=100, show_default=True,
              help="Tokens of the source, and of the target.")
@click.option("--whole", is_flag=True,
              help="With residual sums, norms and ReLU, each sublayer reading the one before.")
@geometry_option
@device_option("rtl")
@json_option
@seed_option
def transformer_base(**options: Any) -> None:
    """Run the products and softmax of a pruned Transformer-base as one program, or all of it."""
    from ..benchmarks import transformer_base

    _measure(transformer_base, **options)


@bench.command()
@geometry_option
def cost(geometry: Geometry) -> None:
    """Hold the cost model against the RTL on a spread of shapes, and print the table."""
    from ..spread import COLUMNS, rows

    print_markdown(COLUMNS, 2, rows(geometry.name))


@bench.command("all")
def all_() -> None:
    """Run the benchmarks of docs/benchmarks.md, and print their table as Markdown."""
    from ..benchmarks import COLUMNS, measure

    print_markdown(COLUMNS, 2, measure())
