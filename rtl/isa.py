"""The instruction set, once: layouts from which assembler, decoder and documentation derive.

An instruction has 64 bytes and covers a whole loop nest. Four queues execute in order, each on its
own engine; they synchronise by counting tokens. The instruction formats do not depend on the
geometry; the hardware of a smaller geometry uses the low bits of a field.
"""

from __future__ import annotations

import enum

from amaranth.hdl import unsigned
from amaranth.lib import data

__all__ = ["FORMATS", "INSTRUCTION_BYTES", "MAX_FEATURES", "NO_TOKEN", "POSTS", "TOKENS", "WAITS",
           "Activation", "Layout", "Opcode", "Queue", "header_layout", "instruction_layout",
           "queue_layout", "raw_layout", "token", "token_name"]

INSTRUCTION_BYTES = 64
"""Bytes of every instruction."""

TOKENS = 32
"""Number of token counters: four posting queues × four waiting queues × two."""

WAITS = 3
"""Tokens that an instruction can wait for."""

POSTS = 3
"""Tokens that an instruction can post."""

MAX_FEATURES = 4096
"""Features that NORM can normalise together."""


class Queue(enum.IntEnum):
    """The queues, in the order of the token numbers."""

    LOAD = 0
    """Transfers from DRAM to the scratchpad."""
    FILL = 1
    """Copies from the scratchpad to the operand buffer; normalisation of rows in the scratchpad."""
    COMPUTE = 2
    """Matrix products and attention on the array, with their drain back to the scratchpad."""
    STORE = 3
    """Transfers from the scratchpad to DRAM."""


class Opcode(enum.IntEnum):
    """The operations; each belongs to one queue."""

    LOAD = 1, Queue.LOAD
    FILL = 2, Queue.FILL
    MATMUL = 3, Queue.COMPUTE
    STORE = 4, Queue.STORE
    ATTEND = 5, Queue.COMPUTE
    NORM = 6, Queue.FILL

    queue: Queue
    """The queue that executes the operation."""

    def __new__(cls, value: int, queue: Queue) -> Opcode:
        opcode = int.__new__(cls, value)
        opcode._value_ = value
        opcode.queue = queue
        return opcode


class Layout(enum.IntEnum):
    """How the drain lays a tile of ``rows × lanes`` INT8 results into words."""

    VECTORS = 0
    """K-major: each row is a vector of ``lanes`` tokens. A later product's B."""
    BLOCKS = 1
    """Blocks of ``rows`` tokens: the tile becomes a later product's A, tokens as outputs."""
    TRANSPOSED = 2
    """Transposed block: the tile becomes a later product's A, tokens as ``k``."""


class Activation(enum.IntEnum):
    """What the drain applies to each value of a tile before it becomes an INT8 result."""

    NONE = 0
    """``x``"""
    RELU = 1
    """``x`` if it is positive, otherwise 0."""
    GELU = 2
    """``x·Φ(x)``, with the distribution function of the normal distribution."""
    SILU = 3
    """``x·σ(x)``, with the logistic function."""


NO_TOKEN = 0
"""The number that stands for no token in a wait or a post."""


def token(poster: Queue, waiter: Queue, index: int = 0) -> int:
    """Return the number of the ``index``-th token counter from ``poster`` to ``waiter``.

    Raises
    ------
    ValueError
        If a queue would wait for itself, or if the index is not 0 or 1.
    """
    if poster == waiter:
        raise ValueError(f"A token must pass between two queues, not from {poster.name} to itself")
    if index not in (0, 1):
        raise ValueError(f"Token index must be 0 or 1, not {index!r}")
    return poster << 3 | waiter << 1 | index


def token_name(number: int) -> str:
    """Return a readable name of a token counter, such as ``LOAD>COMPUTE.0``."""
    if number == NO_TOKEN:
        return "none"
    return f"{Queue(number >> 3).name}>{Queue(number >> 1 & 3).name}.{number & 1}"


_token_layout = data.StructLayout({"token": unsigned(5), "each": unsigned(1)})

header_layout = data.StructLayout({
    "opcode": unsigned(4),
    "waits": data.ArrayLayout(_token_layout, WAITS),
    "posts": data.ArrayLayout(_token_layout, POSTS),
    "reserved": unsigned(64 - 4 - 6 * (WAITS + POSTS)),
})
"""First 8 bytes of each instruction.

``opcode``
    The operation, which says which queue executes it.
``waits``
    Tokens taken before the first iteration of the outermost loop, or before each one if ``each``.
``posts``
    Tokens given after the last iteration of the outermost loop, or after each one if ``each``.
"""

raw_layout = data.StructLayout({
    "header": header_layout,
    "fields": unsigned(8 * INSTRUCTION_BYTES - header_layout.size),
})
"""All 512 bits of an instruction of any operation."""

_transfer = {
    "dram":            (32, "Byte of the first word in the DRAM image; a multiple of a word."),
    "pool":            (24, "Scratchpad address of the first word."),
    "count":           (16, "Iterations of the outermost loop."),
    "rows":            (16, "Rows an iteration."),
    "words":           (16, "Consecutive words a row."),
    "ring":            (16, "Iterations after which the pool address starts again; 0: never."),
    "dram_stride":     (32, "Bytes between iterations in DRAM; a multiple of a word."),
    "dram_row_stride": (32, "Bytes between rows in DRAM; a multiple of a word."),
    "pool_stride":     (24, "Words between iterations in the scratchpad."),
    "pool_row_stride": (24, "Words between rows in the scratchpad."),
}

FORMATS: dict[Opcode, dict[str, tuple[int, str]]] = {
    Opcode.LOAD: _transfer,
    Opcode.FILL: {
        "pool":        (24, "Scratchpad address of the first word."),
        "pool_stride": (24, "Words between tiles in the scratchpad."),
        "operand":     (16, "Step of the operand buffer where the first tile starts."),
        "stride":      (16, "Steps between tiles in the operand buffer."),
        "count":       (16, "Tiles: iterations of the outermost loop."),
        "steps":       (16, "Steps a tile; each step is ``depth`` vectors."),
    },
    Opcode.MATMUL: {
        "a":             (24, "Scratchpad address of the first block of A."),
        "a_stride":      (24, "Words between blocks of A."),
        "a_ring":        (16, "Blocks after which the address of A starts again; 0: never."),
        "b":             (16, "Step of the operand buffer where the first tile of B starts."),
        "b_stride":      (16, "Steps between tiles of B."),
        "blocks":        (16, "Blocks of ``rows`` outputs: iterations of the outermost loop."),
        "tiles":         (16, "Tiles of ``lanes`` tokens; the middle loop."),
        "steps":         (16, "Steps of ``depth`` products; the innermost loop."),
        "c":             (24, "Scratchpad address of the first drained tile."),
        "c_stride":      (24, "Words between drained blocks."),
        "c_tile_stride": (24, "Words between drained tiles."),
        "c_part_stride": (24, "Words between the ``rows``-token parts of a tile in layout BLOCKS."),
        "accumulate":    (1, "Add to the contexts that an undrained instruction before this left."),
        "drain":         (1, "Requantise and store the tiles; otherwise they stay in contexts."),
        "layout":        (2, "How the drain lays a tile into words (:class:`Layout`)."),
        "activation":    (2, "What the drain applies to the values (:class:`Activation`)."),
        "listed":        (1, "Each block has a list of the steps of B that its slots visit."),
        "wide":          (1, "Gaps in the lists have 8 bits instead of 4."),
    },
    Opcode.STORE: _transfer,
    Opcode.ATTEND: {
        "k":              (24, "Scratchpad address of the first key tile: ``steps`` words."),
        "k_stride":       (24, "Words between key tiles."),
        "k_head_stride":  (24, "Words between the keys of two groups of heads."),
        "v":              (24, "Scratchpad address of the values of the first key tile and block."),
        "v_stride":       (24, "Words between the values of key tiles, in a block of features."),
        "v_block_stride": (24, "Words between the values of blocks of ``rows`` features."),
        "v_head_stride":  (24, "Words between the values of two groups of heads."),
        "q":              (16, "Step of the operand buffer where the first head's queries start."),
        "q_head_stride":  (16, "Steps between the queries of heads."),
        "group":          (8, "Consecutive heads that share their keys and values."),
        "jobs":           (16, "Heads: the outer loop. Several only with ``begin`` and ``end``."),
        "tiles":          (16, "Tiles of ``rows`` keys a head; the inner loop."),
        "steps":          (8, "Steps of ``depth`` features in a product of queries and keys."),
        "blocks":         (8, "Blocks of ``rows`` features in the values and the output."),
        "mask":           (24, "Scratchpad address of the first key tile's mask."),
        "mask_stride":    (8, "Words between masks of key tiles; all heads have the same masks."),
        "masked":         (1, "Key tiles have masks; otherwise all keys are visible."),
        "c":              (24, "Scratchpad address of the first drained tile."),
        "c_stride":       (24, "Words between drained blocks."),
        "c_part_stride":  (24, "Words between the ``rows``-token parts of a tile, layout BLOCKS."),
        "c_head_stride":  (24, "Words between the drained outputs of heads."),
        "layout":         (2, "How the drain lays a tile into words (:class:`Layout`)."),
        "multiplier":     (17, "Of a product, to make a score: log2 with 6 fraction bits."),
        "shift":          (2, "To the right after the multiplication: by 12 + 4 · ``shift``."),
        "gain":           (17, "Multiplier of the mean of the values, to make the output."),
        "gain_shift":     (6, "To the right after it."),
        "begin":          (1, "The heads start here; otherwise the head before goes on."),
        "end":            (1, "The heads end here and are drained; otherwise the head goes on."),
    },
    Opcode.NORM: {
        "x":                (24, "Scratchpad address of the first tile of x."),
        "x_stride":         (24, "Words between tiles of x."),
        "o":                (24, "Scratchpad address of the first tile of o."),
        "o_stride":         (24, "Words between tiles of o."),
        "s":                (24, "Scratchpad address of the first tile of the sum."),
        "s_stride":         (24, "Words between tiles of the sum."),
        "c":                (24, "Scratchpad address of the first normalised tile."),
        "c_stride":         (24, "Words between normalised tiles."),
        "params":           (24, "Scratchpad address of the parameters; all tiles have the same."),
        "count":            (16, "Tiles of ``lanes`` tokens: iterations of the outermost loop."),
        "words":            (16, "Words a tile: features, with those that fill the last word."),
        "features":         (13, "Features that count for mean and variance: the first ones."),
        "reciprocal":       (24, "1 / ``features``, times 2^(23 + ``reciprocal_shift``)."),
        "reciprocal_shift": (4, "The least number with 2^``reciprocal_shift`` ≥ ``features``."),
        "epsilon":          (48, "Added to the sum of 256 times the squared distances."),
        "residual":         (1, "Add o to x."),
        "sum":              (1, "Store the sum."),
        "norm":             (1, "Normalise the sum; otherwise there is no second pass."),
        "rms":              (1, "Take the mean for 0."),
    },
}
"""Fields of each operation, least significant first, after the header: width in bits and meaning.

ATTEND waits before its first scores, or if ``each`` before its first outputs, which are some tiles
behind; and posts after its end. Counters of the two kinds of waits must be different.
"""


def instruction_layout(opcode: Opcode) -> data.StructLayout:
    """Return the layout of all 512 bits of an instruction: ``header``, the fields, ``unused``."""
    members: dict[str, object] = {"header": header_layout}
    members |= {name: unsigned(width) for name, (width, _) in FORMATS[opcode].items()}
    used = data.StructLayout(members).size  # type: ignore[arg-type]
    return data.StructLayout(members | {"unused": unsigned(8 * INSTRUCTION_BYTES - used)})  # type: ignore


def queue_layout(queue: Queue) -> data.StructLayout:
    """Return the layout of a queue's instructions: raw if the queue has several operations."""
    opcodes = [opcode for opcode in Opcode if opcode.queue == queue]
    return instruction_layout(opcodes[0]) if len(opcodes) == 1 else raw_layout
