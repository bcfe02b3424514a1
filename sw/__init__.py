"""Heddle: a generator of transformer accelerators, and the software that drives them."""
