"""The design space: what MiniLM would take on accelerators of several sizes, predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from .area import predict
from .compiler import lower
from .cost import estimate
from .device import Golden
from .embedding import Embedder
from .rtl.geometry import Geometry

__all__ = ["COLUMNS", "explore", "space"]

COLUMNS = ("rows × lanes × depth", "scratchpad", "softmax rows", "cycles", "utilisation",
           "ms, clock assumed", "LUT", "DSP", "BRAM36", "fits")


def space(base: Geometry, arrays: Sequence[str], kibibytes: Sequence[int],
          softmax_rows: Sequence[int]) -> Iterator[Geometry]:
    """Yield a geometry for each array, size of the scratchpad and number of rows a cycle.

    Parameters
    ----------
    base : :class:`~heddle.rtl.geometry.Geometry`
        What has all other sizes.
    arrays : sequence of str
        Such as ``16x32x8``: rows, lanes and depth.
    kibibytes : sequence of int
    softmax_rows : sequence of int
        Two of them only where there are 8 rows.

    Raises
    ------
    ValueError
        If an array is written in another way, or the sizes do not fit each other.
    """
    for array, size, softmax in product(arrays, kibibytes, softmax_rows):
        try:
            rows, lanes, depth = map(int, array.split("x"))
        except ValueError:
            raise ValueError("An array must be written as ROWSxLANESxDEPTH, for example 16x32x8, "
                             f"not {array!r}") from None
        if rows >= 4 * softmax:
            yield base.replace(name=array, rows=rows, lanes=lanes, depth=depth,
                               scratchpad_bytes=size << 10, softmax_rows=softmax)


def explore(geometries: Sequence[Geometry], tokens: int, device: Mapping[str, int],
            ) -> Iterator[tuple[str, ...]]:
    """Yield a row of the table for each geometry, for one sequence of so many tokens.

    Nothing is run: cycles are those of :mod:`heddle.cost`, what they take of an FPGA that of
    :mod:`heddle.area`. Where MiniLM cannot be compiled, there are dashes.

    Parameters
    ----------
    geometries : sequence of :class:`~heddle.rtl.geometry.Geometry`
    tokens : :class:`int`
    device : mapping of str to int
        What there is of ``lut``, ``dsp`` and ``bram36``.

    Raises
    ------
    ModuleNotFoundError
        If the encoder is not installed.
    """
    network = Embedder(Golden(geometries[0])).deployment.network([tokens])
    for g in geometries:
        area = predict(g).as_dict()
        try:
            program = lower(network, g)
        except ValueError:
            taken = ("–", "–", "–")
        else:
            cycles = estimate(program.decoded(), g).cycles
            taken = (f"{cycles:,}", f"{program.macs / cycles / g.peak_macs_per_cycle:.3f}",
                     f"{cycles / g.clock_mhz_assumed / 1000:.2f}")
        fits = all(area[name] <= device[name] for name in area)
        yield (f"{g.rows} × {g.lanes} × {g.depth}", f"{g.scratchpad_bytes >> 10:,} KiB",
               str(g.softmax_rows), *taken, f"{area['lut']:,}", f"{area['dsp']:,}",
               f"{area['bram36']:g}", "yes" if fits else "no")
