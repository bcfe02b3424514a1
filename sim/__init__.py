"""Golden model, simulation memory, and Verilator builds."""
