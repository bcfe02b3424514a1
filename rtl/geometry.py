"""The geometry of an accelerator: every size of the hardware, checked and derived once."""

from __future__ import annotations

import functools
import re
from dataclasses import asdict, dataclass, fields, replace

__all__ = ["PRESETS", "Geometry", "preset"]


def _power_of_two(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


def _next_power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of one accelerator. Immutable and hashable; every width below is derived from these.

    The engine computes ``C[i][j] = Σk A[k][i]·B[k][j]`` on tiles of ``rows × lanes`` outputs, with
    ``depth`` products an output and cycle. A *vector* is one row of ``lanes`` INT8 values; a *word*
    is what the scratchpad stores at one address, ``depth × rows`` bytes: one cycle of A.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range or two sizes do not fit each other.
    """

    name: str = "custom"
    """Name in reports, in the program file and in file names of the Verilog export."""
    rows: int
    """Outputs (weight rows) of a tile."""
    lanes: int
    """Tokens of a tile."""
    depth: int
    """Products an output and cycle; the length of a DSP cascade."""
    candidates: int = 1
    """Candidates M of the fine N:M selector of each row; 1 leaves the selector out."""
    contexts: int = 32
    """Accumulators an output. Half of them take turns with the tiles of matrix products and of
    scores; the other half hold attention outputs: of one head, and of the next one."""
    softmax_rows: int = 1
    """Rows drained from the array, and processed in the lanes, a cycle."""
    scratchpad_bytes: int
    """Size of the scratchpad pool."""
    scratchpad_banks: int = 1
    """Equal parts, by address, of the scratchpad, each with its own output register."""
    operand_steps: int
    """Steps of ``depth`` vectors that the operand buffer holds. Its banks have this many addresses,
    or with several candidates this many over their number."""
    dma_ports: int = 1
    """AXI4 master ports."""
    dma_bytes: int = 16
    """Bytes a beat of each AXI4 master port."""
    burst_beats: int = 16
    """Longest burst; a Zynq UltraScale+ PS port takes no more than 16 beats."""
    outstanding: int = 8
    """Bursts in flight a port and direction."""
    address_bits: int = 40
    """Width of an AXI4 address."""
    clock_mhz_assumed: int = 250
    """Clock to which reports convert cycles. An assumption until a vendor tool confirms it."""
    bandwidth_assumed: int = 48
    """Bytes a cycle, reads and writes together, of the memory that simulations assume."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "name":
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{field.name} must be an integer, not {value!r}")
            if value <= 0:
                raise ValueError(f"{field.name} must be positive, not {value}")
        for name in ("rows", "lanes", "depth", "candidates", "contexts", "softmax_rows",
                     "scratchpad_banks", "operand_steps", "dma_ports", "dma_bytes", "burst_beats"):
            if not _power_of_two(getattr(self, name)):
                raise ValueError(f"{name} must be a power of two, not {getattr(self, name)}")
        self._check_limits()
        self._check_fit()

    def _check_limits(self) -> None:
        for name, low, high, why in (
            ("rows", 4, 16, "the softmax takes key tiles of 4, 8 or 16 keys"),
            ("lanes", 2, 256, "the lanes work in pairs that share a DSP"),
            ("depth", 1, 8, "the 18-bit low field of a packed DSP product holds 8 INT8 products"),
            ("candidates", 1, 8, "a fine selector is at most 3 bits"),
            ("contexts", 4, 32, "a quarter holds an attention output, in RAM of 32 entries"),
            ("softmax_rows", 1, 2, "two rows leave the array in a cycle"),
            ("operand_steps", 16, 65536, "instructions address it with 16 bits"),
            ("dma_ports", 1, 4, "a burst is dealt to one of at most 4 ports"),
            ("dma_bytes", 4, 64, "a beat carries at most one instruction of 64 bytes"),
            ("burst_beats", 1, 256, "AXI4 bursts have at most 256 beats"),
            ("outstanding", 1, 64, "a port tracks at most 64 bursts"),
            ("address_bits", 32, 64, "AXI4 addresses have at most 64 bits"),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be between {low} and {high}, not {value}: {why}")

    def _check_fit(self) -> None:
        if self.lanes % self.rows:
            raise ValueError(f"lanes must be a multiple of rows ({self.rows}), not {self.lanes}: "
                             "a tile is stored as blocks of rows")
        if self.rows % self.depth:
            raise ValueError(f"rows must be a multiple of depth ({self.depth}), not {self.rows}: "
                             "a tile drained as an A operand fills whole words")
        if self.word_bytes < 8:
            raise ValueError("A word must hold the 8 bytes of a channel's parameters, but "
                             f"depth × rows is {self.word_bytes}")
        if self.lanes > self.word_bytes:
            raise ValueError(f"lanes must be at most depth × rows = {self.word_bytes}, not "
                             f"{self.lanes}: a word holds whole vectors")
        if self.rows < 4 * self.softmax_rows:
            raise ValueError("rows must be at least 4 × softmax_rows = "
                             f"{4 * self.softmax_rows}, not {self.rows}: the softmax decides on "
                             "a reference once a tile")
        if self.lanes > 8 * self.depth:
            raise ValueError(f"lanes must be at most 8 × depth = {8 * self.depth}, not "
                             f"{self.lanes}: a word holds the mask bits of a tile")
        if self.list_steps < 16:
            raise ValueError("operand_steps must be at least 16 × candidates = "
                             f"{16 * self.candidates}, not {self.operand_steps}: so many lie side "
                             "by side at one address")
        if self.word_bytes % self.dma_bytes:
            raise ValueError(f"dma_bytes must divide a word of {self.word_bytes} bytes, "
                             f"not {self.dma_bytes}")
        if self.burst_bytes < self.word_bytes or self.burst_bytes > 4096:
            raise ValueError(f"a burst must hold between one word ({self.word_bytes} bytes) and "
                             f"4096 bytes, not {self.burst_bytes}")
        if self.scratchpad_bytes % (self.word_bytes * self.scratchpad_banks):
            raise ValueError("scratchpad_bytes must be a multiple of "
                             f"{self.scratchpad_banks} banks × {self.word_bytes} bytes, "
                             f"not {self.scratchpad_bytes}")
        if not _power_of_two(self.bank_words):
            raise ValueError("scratchpad_bytes must give banks of a power of two of words, "
                             f"not {self.bank_words}")
        if self.scratchpad_words > 1 << 24:
            raise ValueError("scratchpad_bytes must be at most 2^24 words, "
                             f"not {self.scratchpad_words} words")

    # -- sizes in bytes and words ------------------------------------------------------------------

    @property
    def word_bytes(self) -> int:
        """Bytes of a scratchpad word: one cycle of A."""
        return self.depth * self.rows

    @property
    def burst_bytes(self) -> int:
        """Bytes of the longest AXI4 burst."""
        return self.burst_beats * self.dma_bytes

    @property
    def word_beats(self) -> int:
        """AXI4 beats that carry one word."""
        return self.word_bytes // self.dma_bytes

    @property
    def scratchpad_words(self) -> int:
        """Words in the scratchpad."""
        return self.scratchpad_bytes // self.word_bytes

    @property
    def bank_words(self) -> int:
        """Words in one bank of the scratchpad."""
        return self.scratchpad_words // self.scratchpad_banks

    @property
    def vectors_per_word(self) -> int:
        """Vectors (rows of ``lanes`` bytes) that a word holds."""
        return self.word_bytes // self.lanes

    @property
    def step_words(self) -> int:
        """Words that hold the ``depth`` vectors of B of one step."""
        return self.depth // self.vectors_per_word

    @property
    def tile_words(self) -> int:
        """Words that a drained tile of ``rows × lanes`` INT8 values fills."""
        return self.lanes // self.depth

    @property
    def channel_words(self) -> int:
        """Words that hold the parameters of ``rows`` output channels, 8 bytes each."""
        return 8 * self.rows // self.word_bytes

    def norm_words(self, words: int) -> int:
        """Return the words of parameters, 8 bytes a feature, for ``words`` words of vectors."""
        return -(-8 * words // self.lanes)

    @property
    def tile_steps(self) -> int:
        """Steps in which the ``rows`` probabilities of a key tile go through the array."""
        return self.rows // self.depth

    # -- sparse weights ----------------------------------------------------------------------------

    @property
    def list_steps(self) -> int:
        """Steps of the longest list, and addresses of a bank of the operand buffer."""
        return self.operand_steps // self.candidates

    @property
    def selector_bits(self) -> int:
        """Bits of a fine selector in memory, a power of two; 0 if there is none."""
        return 0 if self.candidates == 1 else _next_power_of_two(self.candidate_bits)

    def padded_steps(self, steps: int) -> int:
        """Return the steps of a tile of B with those that fill its last address."""
        return -(-steps // self.candidates) * self.candidates

    def gap_words(self, steps: int, wide: bool | int = False) -> int:
        """Return the words with the gaps of a list: ``depth`` a step, of 4 bits, or 8 if wide."""
        return -(-steps // (self.rows if wide else 2 * self.rows))

    def selector_words(self, steps: int) -> int:
        """Return the words with the fine selectors of a list: one for each weight."""
        return -(-steps * self.selector_bits // 8)

    def list_words(self, steps: int, wide: bool | int = False) -> int:
        """Return the words of a list: its gaps, then its selectors."""
        return self.gap_words(steps, wide) + self.selector_words(steps)

    # -- contexts ----------------------------------------------------------------------------------

    @property
    def ring_contexts(self) -> int:
        """Contexts 0, 1, … of tiles of products and of scores, on their way to the drain."""
        return self.contexts // 2

    @property
    def attention_blocks(self) -> int:
        """Blocks of ``rows`` features that an attention output may have: those of one head."""
        return self.contexts // 4

    @property
    def probability_slots(self) -> int:
        """Key tiles whose scores or probabilities may be under way."""
        return 16

    @property
    def peak_macs_per_cycle(self) -> int:
        """Useful multiply-accumulates a cycle when the array never waits."""
        return self.rows * self.lanes * self.depth

    # -- widths in bits ----------------------------------------------------------------------------

    @property
    def pool_bits(self) -> int:
        """Width of a scratchpad word address."""
        return (self.scratchpad_words - 1).bit_length()

    @property
    def operand_bits(self) -> int:
        """Width of an operand buffer address."""
        return (self.operand_steps - 1).bit_length()

    @property
    def step_bits(self) -> int:
        """Width of a step address, of the operand buffer or of the probabilities."""
        probabilities = self.probability_slots * self.tile_steps
        return max(self.operand_bits, (probabilities - 1).bit_length())

    @property
    def candidate_bits(self) -> int:
        """Bits that choose a candidate; 0 if there is but one."""
        return (self.candidates - 1).bit_length()

    @property
    def context_bits(self) -> int:
        """Width of a context number."""
        return (self.contexts - 1).bit_length()

    @property
    def fingerprint(self) -> int:
        """32 bits that tell geometries apart whose programs differ; a register shows them."""
        text = ",".join(f"{key}={value}" for key, value in sorted(self.as_dict().items())
                        if key not in ("name", "clock_mhz_assumed", "bandwidth_assumed"))
        return functools.reduce(lambda h, c: (h ^ c) * 0x01000193 & 0xFFFFFFFF,
                                text.encode(), 0x811C9DC5)  # FNV-1a

    # -- conversion --------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, int | str]:
        """Return the sizes as a dictionary from which :meth:`from_dict` makes the same geometry."""
        return asdict(self)

    @classmethod
    def from_dict(cls, sizes: dict[str, int | str]) -> Geometry:
        """Make a geometry of a dictionary of sizes.

        Raises
        ------
        ValueError
            If a size has an unknown name, or as the constructor does.
        """
        unknown = sorted(set(sizes) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"Geometry has no size named {unknown[0]!r}")
        return cls(**sizes)  # type: ignore[arg-type]

    def replace(self, **changes: int | str) -> Geometry:
        """Return a copy with some sizes changed, checked again."""
        return replace(self, **changes)  # type: ignore[arg-type]


PRESETS: dict[str, Geometry] = {g.name: g for g in (
    # 4,096 MAC a cycle on 2,048 DSP48E2; four HP ports of a Zynq UltraScale+.
    Geometry(name="zcu102", rows=16, lanes=32, depth=8, contexts=32,
             scratchpad_bytes=2 << 20, scratchpad_banks=4, operand_steps=512,
             dma_ports=4, dma_bytes=16, clock_mhz_assumed=250),
    # The same with a fine selector of one in four candidates for each weight.
    Geometry(name="zcu102-nm", rows=16, lanes=32, depth=8, candidates=4, contexts=32,
             scratchpad_bytes=2 << 20, scratchpad_banks=4, operand_steps=2048,
             dma_ports=4, dma_bytes=16, clock_mhz_assumed=250),
    # 1,024 MAC a cycle and a memory of 16 bytes a cycle, the size of the open peers.
    Geometry(name="compact", rows=8, lanes=16, depth=8, contexts=32,
             scratchpad_bytes=512 << 10, scratchpad_banks=2, operand_steps=512,
             dma_ports=2, dma_bytes=16, outstanding=16, clock_mhz_assumed=250,
             bandwidth_assumed=16),
    # 64 MAC a cycle beside the lanes on the multipliers of an ECP5-85F; SDRAM of 16 bits.
    Geometry(name="ulx3s", rows=4, lanes=4, depth=4, contexts=16,
             scratchpad_bytes=128 << 10, scratchpad_banks=1, operand_steps=512,
             dma_ports=1, dma_bytes=4, outstanding=2, address_bits=32, clock_mhz_assumed=50,
             bandwidth_assumed=2),
    # A few cells, for tests in seconds; two vectors a word, two ports, short bursts.
    Geometry(name="tiny", rows=4, lanes=4, depth=2, contexts=8,
             scratchpad_bytes=8 << 10, scratchpad_banks=2, operand_steps=64,
             dma_ports=2, dma_bytes=4, burst_beats=4, outstanding=4, address_bits=32,
             clock_mhz_assumed=250),
    Geometry(name="tiny-nm", rows=4, lanes=4, depth=2, candidates=4, contexts=8,
             scratchpad_bytes=8 << 10, scratchpad_banks=2, operand_steps=128,
             dma_ports=2, dma_bytes=4, burst_beats=4, outstanding=4, address_bits=32,
             clock_mhz_assumed=250),
)}
"""The named geometries: those that continuous integration builds, tests and reports."""


def preset(geometry: str | Geometry) -> Geometry:
    """Return the geometry itself, or the preset of that name, perhaps with some sizes changed.

    ``"compact"`` is a preset, and ``"compact:softmax_rows=2,scratchpad_bytes=1048576"`` differs
    from it in two sizes, and is called ``compact-softmax_rows2-scratchpad_bytes1048576``.

    Raises
    ------
    ValueError
        If no preset has that name, if there is no such size, if it is no number, or as
        :class:`Geometry` does.
    """
    if isinstance(geometry, Geometry):
        return geometry
    name, _, changes = geometry.partition(":")
    if name not in PRESETS:
        raise ValueError(f"Geometry must be one of {', '.join(PRESETS)}, not {name!r}")
    sizes = {}
    for change in filter(None, changes.split(",")):
        size, _, value = change.partition("=")
        if size == "name" or not re.fullmatch("[0-9]+", value):
            raise ValueError("A change of a geometry must be the name of a size, =, and a number, "
                             f"not {change!r}")
        sizes[size] = int(value)
    called = "-".join([name, *(f"{size}{value}" for size, value in sizes.items())])
    return Geometry.from_dict(PRESETS[name].as_dict() | sizes | {"name": called})
