"""The ULX3S in simulation through its serial pins, by the transport that the real one has."""

import numpy as np
import pytest

import heddle
from heddle import Golden, Graph
from heddle.api import run
from heddle.outcome import DeviceError
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import ADDRESS_BITS
from heddle.runtime import Board
from heddle.runtime.uart import Uart
from heddle.sim.board import SimulatedBoard

GEOMETRY = PRESETS["ulx3s"]


@pytest.fixture(scope="module")
def simulated():
    with SimulatedBoard(GEOMETRY) as board:
        yield board


@pytest.fixture
def uart(simulated):
    with Uart(simulated.port, patience=60) as uart:  # of a simulation, which may be slow
        yield uart


def test_the_memory_is_the_whole_sdram(uart):
    assert (uart.base, uart.size) == (0, 32 << 20)
    data = np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8)
    for address in 0, 4096 - 20, uart.size - data.size:
        uart.upload(address, data)
        assert (uart.download(address, data.size) == data).all()


def test_an_attention_layer_gives_the_bits_of_the_golden_model(uart):
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(2, 20, 8)) for _ in range(3))
    result = heddle.attention(q, k, v, causal=True, geometry=GEOMETRY,
                              device=Board(GEOMETRY, uart))
    assert result.report["matches_golden"]
    assert result.report["device"] == "board"
    assert result.report["error"] < 0.03


def test_layers_with_all_units_give_the_bits_of_the_golden_model(uart):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(9, 24))
    weight = rng.normal(size=(24, 24))
    graph = Graph("layers")
    hidden = graph.linear("hidden", graph.input("x", tokens=9, features=24), weight,
                          activation="gelu")
    graph.output(graph.norm("norm", graph.linear("y", hidden, weight), np.ones(24)))
    program = heddle.compile(graph, {"x": x}, GEOMETRY)
    board, golden = (run(program, {"x": x}, device=device)
                     for device in (Board(GEOMETRY, uart), Golden(GEOMETRY)))
    assert (board.run.image == golden.run.image).all()
    assert board.run.counters.array_cycles == golden.run.counters.array_cycles


def test_the_link_comes_to_rest_after_noise(uart, simulated):
    with open(simulated.port, "wb", buffering=0) as line:
        line.write(np.random.default_rng(3).bytes(100))
    uart.upload(0, np.arange(64, dtype=np.uint8))
    assert (uart.download(0, 64) == np.arange(64)).all()


def test_another_geometry_is_refused(uart):
    with pytest.raises(DeviceError, match="must be of geometry tiny"):
        Board(PRESETS["tiny"], uart)


@pytest.mark.parametrize(("address", "size", "message"), [
    (2, 4, "must begin and end at multiples of 4, and not be the 4 bytes from 0x2 on"),
    (0, 6, "must begin and end at multiples of 4, and not be the 6 bytes from 0x0 on"),
    (32 << 20, 4, "must lie within its 33,554,432 bytes, and not be the 4 bytes from 0x2000000")])
def test_parts_of_the_memory_are_checked(uart, address, size, message):
    with pytest.raises(ValueError, match=message):
        uart.download(address, size)
    with pytest.raises(ValueError, match=message):
        uart.upload(address, np.zeros(size, np.uint8))


def test_a_register_that_is_not_there_is_refused(uart):
    with pytest.raises(DeviceError, match="accept 1 words of REGISTERS at 0x1000"):
        uart.read(1 << ADDRESS_BITS)
    assert uart.read(0) == 0x4845444C


def test_a_port_that_is_not_there_is_refused():
    with pytest.raises(DeviceError, match="The serial port /dev/nothing must be there and free"):
        Uart("/dev/nothing")
