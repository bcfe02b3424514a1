"""Writes ``docs/isa.md`` from the instruction set: ``python -m heddle.isadoc [FILE]``."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from .rtl import isa
from .rtl.isa import FORMATS, INSTRUCTION_BYTES, Activation, Layout, Opcode, Queue, header_layout

__all__ = ["document"]

_FORMAT = """\
An instruction has {size} bytes, little-endian: a header of 8 bytes, then the fields of its
operation from the least significant bit up. Bits without a meaning are 0. `WORD` is the number of
bytes of a scratchpad word, `depth·rows`.
"""

_TOKENS = """\
Each of the {waits} waits and {posts} posts has {size} bits: the number of a token counter in bits
4:0, and `each` in bit 5. Number 0 stands for no token. Counter `poster·8 + waiter·2 + index` counts
the tokens from one queue to another; `index` is 0 or 1.
"""

_TRANSFER = """\
for i in range(count):
    for r in range(rows):
        for w in range(words):
            {}
"""
_DRAM = "dram[dram + i·dram_stride + r·dram_row_stride + w·WORD]"
_POOL = "pool[pool + (i mod ring)·pool_stride + r·pool_row_stride + w]"

_ACTIONS = {
    Opcode.LOAD: _TRANSFER.format(f"{_POOL} = {_DRAM}"),
    Opcode.FILL: """\
for i in range(count):
    for s in range(steps):
        for w in range(STEP):
            word w of operand[operand + i·stride + s] = pool[pool + i·pool_stride + s·STEP + w]
""",
    Opcode.MATMUL: """\
for m in range(blocks):
    for t in range(tiles):
        sums = context if accumulate else 0
        for s in range(steps):
            A = pool[a + (m mod a_ring)·a_stride + s]
            n[p][i] = visit[s][p][i] if listed else s        which step of B, p < depth, i < rows
            sums[i][j] += Σp A[p][i]·operand[b + t·b_stride + n[p][i]][p][j]
        if drain: tile at c + m·c_stride + t·c_tile_stride = activation(requantise(sums))
        else:     context = sums
""",
    Opcode.STORE: _TRANSFER.format(f"{_DRAM} = {_POOL}"),
    Opcode.ATTEND: """\
for j in range(jobs):
    if begin: sums = nothing
    for t in range(tiles):
        K[s] = pool[k + (j div group)·k_head_stride + t·k_stride + s]        s < steps
        Q[s] = operand[q + j·q_head_stride + s]                              s < steps
        V[m][s] = pool[v + (j div group)·v_head_stride + m·v_block_stride + t·v_stride + s]
                                                           m < blocks, s < rows / depth
        visible = pool[mask + t·mask_stride] if masked else all
        sums = sums, and V weighted with the softmax of (K·Q)·multiplier / 2^(12 + 4·shift)
    if end: for m in range(blocks):
        tile at c + j·c_head_stride + m·c_stride = mean of V[m] · gain / 2^(gain_shift + 1)
""",
    Opcode.NORM: """\
for t in range(count):
    for f in range(words · vectors of a word):                              first pass
        y[f] = (x[f]·X[f] + o[f]·O[f] + 64) >> 7                            without o: O[f] = 0
        if sum: s[f] = clamp((y[f]·SUM[f] + 2^25) >> 26)
    S1, S2 = Σ y[f], Σ y[f]²
    mean = 0 if rms else (S1·reciprocal + 2^(18 + reciprocal_shift)) >> (19 + reciprocal_shift)
    V = 256·S2 - mean·(32·S1 - features·mean) + epsilon
    root, shift = reciprocal root of V / features
    if norm: for f in range(words · vectors of a word):                     second pass
        z = ((16·y[f] - mean)·root) >> shift
        c[f] = clamp(((2·z + 1)·GAIN[f] + ((BIAS[f] + 128) << 12)) >> 20)
""",
}

_NOTES = {
    Opcode.LOAD: "A `ring` of 0 stands for no ring.",
    Opcode.FILL: "`STEP` is the number of words that hold `depth` vectors.",
    Opcode.MATMUL: """\
An `a_ring` of 0 stands for no ring. An instruction that does not drain holds a context for each
(m, t), `blocks·tiles` in all and at most as many as there are. Later instructions with
`accumulate`, as many blocks and as many tiles add to the same contexts in the same order; the first
of them that drains sets them free. The requantisation parameters of a block are in the words after
its last step (see [numerics](numerics.md)).

If `listed`, the list of a block follows its parameters, whose place there is even without `drain`.
Step `s` of the list has a gap for each slot `p`, of 4 bits, or 8 if `wide`, slot 0 lowest; steps
follow each other from the lowest bits of the first word up. The geometry's M `candidates` of slot
`p` are the steps `M·address + c` of the tile, `c < M`, with `address` the sum of the slot's gaps up
to and including step `s`. With M > 1 the selectors of the list follow from a new word on: a field
for each weight, `c` of the weight in byte `p·rows + i` in field `p·rows + i` of the step. A field
has 1, 2 or 4 bits for M = 2, 4 or 8. So

    visit[s][p][i] = M·(gap[0][p] + … + gap[s][p]) + selector[s][p][i]

`b` and `b_stride` are multiples of M, `b_stride` is the number of steps of a tile, and `steps` is
at most the number of steps of the operand buffer over M.

A block's iteration ends when its last tile is in the scratchpad, or in its context.""",
    Opcode.STORE: """\
A `ring` of 0 stands for no ring. An iteration ends when DRAM has acknowledged all of it.""",
    Opcode.ATTEND: """\
A tile of keys is a block of A whose outputs are keys and whose `k` are features; a block of values
is one whose outputs are features and whose `k` are keys. Bit `key·lanes + lane` of a mask's word is
1 if the lane's query sees the key. An instruction without `end` holds its sums for the next ATTEND,
which has no `begin`; no other operation of the queue may come between them. Lanes whose query has
seen no key have an output of 0. The arithmetic is that of [numerics](numerics.md).

Scores run ahead of outputs by some key tiles, within an instruction and across instructions. So
waits without `each` are taken before the first scores, and those with `each` before the first
outputs, that is before values are read. Counters of the two kinds must be different.""",
    Opcode.NORM: """\
All is done for each lane by itself; `x[f]` is vector `f` of tile `t`, from word `x + t·x_stride`
on, and likewise `o`, `s` and `c`. `clamp` is to ±127, and the reciprocal root that of
[numerics](numerics.md).

The parameters are two tables of 8 bytes for each vector of a tile, each from a new word on; the
second one is there only with `norm`. From the lowest bits up, the first holds `X` (16 bits), `O`
(16) and `SUM` (24), all unsigned, and 8 bits that are not used, the second `X` (16), `O` (16),
`GAIN` (16) and `BIAS` (16), the last two signed. Those of vectors beyond `features` are all 0.

What is written to the scratchpad must not lie over the parameters, nor over what is still to be
read of the same tile. So `c`, and without `norm` also `s`, may take the place of `x` or `o`, word
by word. An iteration ends when its last word is in the scratchpad, and the next instruction of the
queue begins after that.""",
}


def _docstrings(body: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Names and docstrings of the assignments that have one after them, as Markdown."""
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name) \
                and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            yield statement.targets[0].id, _markdown(inspect.cleandoc(str(following.value.value)))


def _markdown(text: str) -> str:
    return re.sub(r":\w+:`~?(?:[^`]*\.)?([^`]*)`", r"`\1`", text).replace("``", "`")


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    heads = list(heads)
    lines: list[Iterable[object]] = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def document() -> str:
    """Return the text of ``docs/isa.md``."""
    tree = ast.parse(inspect.getsource(isa))
    about = dict(_docstrings(tree.body))
    enums = {node.name: dict(_docstrings(node.body)) for node in tree.body
             if isinstance(node, ast.ClassDef)}
    overview = _markdown(inspect.cleandoc(isa.__doc__ or "")).partition("\n\n")[2]
    operations = {queue: ", ".join(f"`{opcode.name}`" for opcode in Opcode if opcode.queue == queue)
                  for queue in Queue}
    header = re.sub(r"^(`\w+`)\n +", r"* \1: ", about["header_layout"].partition("\n\n")[2],
                    flags=re.M)
    entry = header_layout["waits"].shape.elem_shape
    parts = [
        "# Instruction set\n",
        "<!-- Written by python -m heddle.isadoc from rtl/isa.py. Do not edit. -->\n",
        overview + "\n",
        _FORMAT.format(size=INSTRUCTION_BYTES),
        "## Queues\n",
        _table(("number", "queue", "operations", "what it does"),
               ((queue.value, queue.name, operations[queue], enums["Queue"][queue.name])
                for queue in Queue)),
        "## Header\n",
        _table(("bits", "field"), ((f"{field.offset + field.width - 1}:{field.offset}", f"`{name}`")
                                   for name, field in header_layout)),
        f"{header}\n",
        _TOKENS.format(waits=isa.WAITS, posts=isa.POSTS, size=entry.size),
        "## Operations\n",
    ]
    for opcode in Opcode:
        parts += [f"### {opcode.name}\n", f"Opcode {opcode.value}, queue {opcode.queue.name}.\n",
                  f"```text\n{_ACTIONS[opcode]}```\n", _fields(opcode), _NOTES[opcode] + "\n"]
    parts += ["## Layouts of a drained tile\n",
              _table(("value", "layout", "meaning"),
                     ((layout.value, layout.name, " ".join(enums["Layout"][layout.name].split()))
                      for layout in Layout)),
              "## Activations\n",
              _table(("value", "activation", "meaning"),
                     ((activation.value, activation.name, enums["Activation"][activation.name])
                      for activation in Activation))]
    return "\n".join(parts)


def _fields(opcode: Opcode) -> str:
    rows, offset = [], header_layout.size
    for name, (width, doc) in FORMATS[opcode].items():
        rows.append((f"{offset + width - 1}:{offset}", f"`{name}`", _markdown(doc)))
        offset += width
    return _table(("bits", "field", "meaning"), rows)


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/isa.md").write_text(document())
