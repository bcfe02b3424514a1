"""The hardware of Heddle in Amaranth, one block a file."""
