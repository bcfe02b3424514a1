"""Train a language model of characters: ``python -m heddle.train.characters``.

The text is the King James Bible as Debian has it, in the public domain: ``apt-get install
bible-kjv``. Two books, Ruth and Jonah, are not learnt; they are what the model is judged by.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from ..models.characters import BOOKS, FOLDER, WINDOW, Characters
from .finetune import finetune
from .gpt import Decoder

__all__ = ["main", "read_books", "train"]

SIZES = {"layers": 4, "heads": 4, "width": 128, "inner": 512}

BATCH, STEPS, RATE = 8, 1700, 3e-3

AVERAGE = 0.99
"""Share of the past in the average of the weights, each step."""


def read_books() -> tuple[str, dict[str, str]]:
    """Return the text of all books to learn, and those of the others; a verse is a line.

    Raises
    ------
    RuntimeError
        If the program that unpacks the text is not installed.
    """
    try:
        verses = subprocess.run(["bible", "-f", "-l9999", "gen1:1-rev22:21"], check=True, text=True,
                                capture_output=True, stdin=subprocess.DEVNULL).stdout
    except FileNotFoundError:
        raise RuntimeError("The text is unpacked by the program 'bible'; on Debian, install it "
                           "with 'apt-get install bible-kjv'") from None
    learnt, others = "", dict.fromkeys(BOOKS, "")
    for title, verse in re.findall(r"^(\d?[A-Za-z]+)\d+:\d+ (.*)$", verses, re.MULTILINE):
        name, line = title.lower(), verse.strip() + "\n"
        if name in BOOKS:
            others[name] += line
        else:
            learnt += line
    return learnt, others


def batches(tokens: Tensor, random: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of windows without end, each with the character that follows it."""
    while True:
        starts = torch.randint(len(tokens) - WINDOW, (BATCH,), generator=random)
        yield torch.stack([tokens[start:start + WINDOW + 1] for start in starts.tolist()])


def train(text: str, alphabet: str, steps: int = STEPS) -> Decoder:
    """Return a model that was trained from nothing on a text."""
    numbers = {character: number for number, character in enumerate(alphabet)}
    tokens = torch.tensor([numbers[character] for character in text])
    model = Decoder(vocabulary=len(alphabet), tokens=WINDOW, **SIZES)

    def loss(model: torch.nn.Module, batch: Tensor) -> Tensor:
        return functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    random = torch.Generator().manual_seed(0)
    finetune(model, {}, batches(tokens, random), loss, steps=steps, rate=RATE, warmup=steps // 17,
             average=AVERAGE)
    return model


def save(model: Decoder, alphabet: str, folder: Path) -> None:
    """Write the weights as float16, and beside them what they do not tell."""
    save_file({name: tensor.half().contiguous() for name, tensor in model.checkpoint().items()},
              folder / "model.safetensors")
    config = {"model_type": "gpt2", "n_head": SIZES["heads"], "activation_function": "gelu",
              "alphabet": alphabet}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


@click.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=FOLDER,
              help="Folder for the weights and the text that was not learnt.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True)
def main(output: Path, steps: int) -> None:
    """Train the model of characters, and write its weights and the text to judge it by."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    text, others = read_books()
    alphabet = "".join(sorted(set(text).union(*others.values())))
    start = time.process_time()
    model = train(text, alphabet, steps)
    output.mkdir(exist_ok=True)
    save(model, alphabet, output)
    for name, book in others.items():
        (output / f"{name}.txt").write_text(book)
        click.echo(f"{name}: {Characters(output).nats(book):.4f} nats a character, after "
                   f"{time.process_time() - start:.0f} s")


if __name__ == "__main__":
    main()
