"""Bytes of a sparse weight in Heddle's encoding and in the usual ones."""

from __future__ import annotations

from dataclasses import dataclass

from .formats import PackedWeight

__all__ = ["Storage"]


@dataclass(frozen=True)
class Storage:
    """Bytes of an INT8 weight. What has no whole bytes is rounded up for the whole matrix."""

    data: int
    """Of weights in Heddle's encoding: whole words, zeros in them included."""
    lists: int
    """Of gaps."""
    selectors: int
    parameters: int
    """Of requantisation, the same in every encoding."""
    dense: int
    """A byte for each weight, without any padding."""
    csr: int
    """Compressed sparse rows: a byte and a column number for each weight that is left, and where
    each row starts; numbers have as many bits as the largest needs."""
    bitmap: int
    """A byte for each weight that is left, and a bit for each one."""

    @classmethod
    def of(cls, packed: PackedWeight, some: int) -> Storage:
        """Return the bytes of an encoded weight, of which so many are not pruned."""
        g = packed.geometry
        outputs, inputs = packed.outputs, packed.inputs
        listed = [encoding for encoding in packed.encodings if encoding.listed]
        csr = some * (8 + (inputs - 1).bit_length()) + (outputs + 1) * some.bit_length()
        return cls(
            data=sum(encoding.steps for encoding in packed.encodings) * g.word_bytes,
            lists=sum(g.gap_words(each.steps, each.wide) for each in listed) * g.word_bytes,
            selectors=sum(g.selector_words(each.steps) for each in listed) * g.word_bytes,
            parameters=len(packed.encodings) * g.channel_words * g.word_bytes,
            dense=outputs * inputs,
            csr=-(-csr // 8),
            bitmap=some + -(-outputs * inputs // 8),
        )

    @property
    def total(self) -> int:
        """Bytes of weights and index in Heddle's encoding, without the parameters."""
        return self.data + self.lists + self.selectors
