"""A language model of characters, and two texts that it has not learnt."""

from .model import BOOKS, FOLDER, WINDOW, Characters, book

__all__ = ["BOOKS", "FOLDER", "WINDOW", "Characters", "book"]
