"""The scratchpad: one pool of words, a read port for A alone and a shared port for the rest."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .ram import DualPortRam
from .target import place

__all__ = ["PoolReader", "PoolWriter", "Scratchpad"]


class PoolReader(wiring.Signature):
    """A client that reads words.

    Members
    -------
    request : :py:`Out(stream.Signature(addr_bits))`
        Addresses. A client asks only for what it has room for.
    valid : :py:`In(1)`
        ``data`` holds a word; the words come in the order of the requests and cannot be held up.
    data : :py:`In(word_bits)`
    """

    def __init__(self, addr_bits: int, word_bits: int):
        self.addr_bits = addr_bits
        self.word_bits = word_bits
        super().__init__({
            "request": Out(stream.Signature(addr_bits)),
            "valid":   In(1),
            "data":    In(word_bits),
        })


class PoolWriter(wiring.Signature):
    """A client that writes words: a stream of ``addr`` and ``data``.

    A word is visible to a read whose request is accepted after the write was.
    """

    def __init__(self, addr_bits: int, word_bits: int):
        self.addr_bits = addr_bits
        self.word_bits = word_bits
        super().__init__({
            "request": Out(stream.Signature(data.StructLayout({"addr": addr_bits,
                                                               "data": word_bits}))),
        })


class _Bank(wiring.Component):
    """One bank: a RAM with registers in front of both ports and after them."""

    def __init__(self, words: int, word_bits: int):
        self.words = words
        self.word_bits = word_bits
        addr = (words - 1).bit_length()
        super().__init__({
            "a_en":         In(1),
            "a_addr":       In(addr),
            "a_data":       Out(word_bits),
            "b_en":         In(1),
            "b_write":      In(1),
            "b_addr":       In(addr),
            "b_write_data": In(word_bits),
            "b_data":       Out(word_bits),
        })

    @property
    def module_name(self) -> str:
        """Name that equal banks share."""
        return f"heddle_bank_{self.words}x{self.word_bits}"

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.ram = ram = DualPortRam(self.word_bits, self.words)
        for name in ("a_en", "a_addr", "b_en", "b_write", "b_addr", "b_write_data"):
            register = Signal.like(getattr(self, name), reset_less=not name.endswith("_en"))
            m.d.sync += register.eq(getattr(self, name))
            m.d.comb += getattr(ram, name).eq(register)
        m.d.comb += [self.a_data.eq(ram.a_data), self.b_data.eq(ram.b_data)]
        return m


class Scratchpad(wiring.Component):
    """The pool: ``banks`` equal block RAMs under one address.

    Port a serves the array alone. Port b carries one word a cycle for everything else: the drain
    always gets its turn, then the parameters of its next tile, then the lists of the next blocks,
    then fill, store, load and norm in rotation.

    Parameters
    ----------
    words : :class:`int`
        Words in all banks; a power of two.
    word_bits : :class:`int`
        Bits of a word.
    banks : :class:`int`
        Banks; the upper address bits choose one.
    lists : :class:`int`
        Readers of lists.

    Members
    -------
    a_en, a_addr, a_data
        The word at ``a_addr`` is at ``a_data`` :attr:`A_LATENCY` cycles later.
    drain : :py:`In(PoolWriter)`
        Never made to wait.
    params, fill, store : :py:`In(PoolReader)`
    lists : :py:`In(PoolReader).array(lists)`
    load, norm : :py:`In(PoolWriter)`
    """

    A_LATENCY = 4
    """Cycles from ``a_addr`` to ``a_data``."""

    B_LATENCY = 5
    """Cycles from an accepted read request to its word."""

    def __init__(self, words: int, word_bits: int, banks: int, lists: int = 1):
        if words % banks:
            raise ValueError(f"Scratchpad words must be a multiple of {banks} banks, not {words}")
        self.words = words
        self.word_bits = word_bits
        self.banks = banks
        addr = (words - 1).bit_length()
        super().__init__({
            "a_en":   In(1),
            "a_addr": In(addr),
            "a_data": Out(word_bits),
            "drain":  In(PoolWriter(addr, word_bits)),
            "params": In(PoolReader(addr, word_bits)),
            "lists":  In(PoolReader(addr, word_bits)).array(lists),
            "fill":   In(PoolReader(addr, word_bits)),
            "load":   In(PoolWriter(addr, word_bits)),
            "norm":   In(PoolWriter(addr, word_bits)),
            "store":  In(PoolReader(addr, word_bits)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        bank_bits = (self.banks - 1).bit_length()
        addr_bits = (self.words // self.banks - 1).bit_length()
        readers = (self.params, *self.lists, self.fill, self.store)
        writers = (self.load, self.norm, self.drain)
        granted, addr, write, write_data = self._arbitrate(m, readers, writers)
        a_bank, b_bank = Signal(bank_bits), Signal(bank_bits)
        m.d.comb += [a_bank.eq(self.a_addr >> addr_bits), b_bank.eq(addr >> addr_bits)]

        banks = []
        for n in range(self.banks):
            m.submodules[f"bank_{n}"] = place(bank := _Bank(self.words // self.banks,
                                                            self.word_bits), platform)
            m.d.comb += [
                bank.a_en.eq(self.a_en & (a_bank == n)),
                bank.a_addr.eq(self.a_addr),
                bank.b_en.eq(granted.any() & (b_bank == n)),
                bank.b_write.eq(write),
                bank.b_addr.eq(addr),
                bank.b_write_data.eq(write_data),
            ]
            banks.append(bank)

        def delayed(value, cycles):
            for _ in range(cycles):
                m.d.sync += (register := Signal.like(value, name="delay")).eq(value)
                value = register
            return value

        a_select = delayed(a_bank, self.A_LATENCY - 1)
        b_select = delayed(b_bank, self.A_LATENCY - 1)
        b_data = Signal(self.word_bits, reset_less=True)
        m.d.sync += [
            self.a_data.eq(Array(bank.a_data for bank in banks)[a_select]),
            b_data.eq(Array(bank.b_data for bank in banks)[b_select]),
        ]
        valid = delayed(granted & ~write.replicate(len(granted)), self.A_LATENCY)
        for n, client in enumerate(readers):
            m.d.comb += [client.valid.eq(valid[n]), client.data.eq(b_data)]
        return m

    def _arbitrate(self, m: Module, readers: tuple, writers: tuple):
        """Choose one request a cycle and register it: who reads (or writes), address, data."""
        clients = (*readers, *writers)
        wanted = Cat(client.request.valid for client in clients)
        choice = Signal(len(clients))
        drain, rotation = len(clients) - 1, range(len(readers) - 2, len(clients) - 1)
        first = Cat(wanted[drain], wanted[:rotation[0]])  # drain, parameters, lists
        for n, who in enumerate((drain, *range(rotation[0]))):
            m.d.comb += choice[who].eq(wanted[who] & ~first[:n].any())
        turn = Signal(range(len(rotation)))  # fill, store, load, norm
        with m.If(~first.any()):
            with m.Switch(turn):
                for begin in range(len(rotation)):
                    with m.Case(begin):
                        order = [*rotation[begin:], *rotation[:begin]]
                        for n, who in enumerate(order):
                            before = Cat(wanted[other] for other in order[:n]).any()
                            m.d.comb += choice[who].eq(wanted[who] & ~before)
                            with m.If(choice[who]):
                                m.d.sync += turn.eq((rotation.index(who) + 1) % len(rotation))
        m.d.comb += [client.request.ready.eq(choice[n]) for n, client in enumerate(clients)]

        granted = Signal(len(clients))
        write = Signal()
        addr = Signal(range(self.words), reset_less=True)
        write_data = Signal(self.word_bits, reset_less=True)
        m.d.sync += [granted.eq(choice), write.eq(choice[len(readers):].any())]
        for n, client in enumerate(clients):
            with m.If(choice[n]):
                if n < len(readers):
                    m.d.sync += addr.eq(client.request.p)
                else:
                    m.d.sync += [addr.eq(client.request.p.addr),
                                 write_data.eq(client.request.p.data)]
        return granted, addr, write, write_data
