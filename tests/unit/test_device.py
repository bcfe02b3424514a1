"""What a device says when a run fails."""

import time

import numpy as np
import pytest

import heddle
from heddle.outcome import DeviceError, check, standing
from heddle.rtl.isa import Opcode


@pytest.fixture(scope="module")
def program():
    graph = heddle.Graph()
    x = graph.input("x", tokens=8, features=16)
    graph.output(graph.linear("y", x, np.eye(16)))
    return heddle.compile(graph, {"x": np.ones((8, 16))}, "tiny")


def failure(program, registers, base=0):
    with pytest.raises(DeviceError) as caught:
        check(program, registers, base)
    return str(caught.value)


def registers(code, response, port, address):
    return {"ERROR": code | response << 4 | port << 6, "ERROR_ADDRESS_LO": address & 0xFFFFFFFF,
            "ERROR_ADDRESS_HI": address >> 32}


def test_a_failed_read_names_its_instruction(program):
    loads = [n for n, i in enumerate(program.decoded()) if i.opcode == Opcode.LOAD]
    address = program.inputs["x"].offset
    message = failure(program, registers(1, 2, 1, address))
    assert message == (f"The run ended because a read was answered with SLVERR: the burst at "
                       f"{address:#x} on port 1, a transfer of instruction {loads[0]} (LOAD)")


def test_a_failed_write_names_its_instruction(program):
    message = failure(program, registers(2, 3, 0, program.outputs["y"].offset))
    assert "a write was answered with DECERR" in message
    assert message.endswith("(STORE)")


def test_a_failed_fetch_is_named(program):
    message = failure(program, registers(1, 3, 0, program.offset))
    assert message.endswith("a transfer of the instruction fetch")


def test_a_failed_transfer_is_found_wherever_the_image_lies(program):
    offset = program.inputs["x"].offset
    message = failure(program, registers(1, 2, 1, 0x10_0000_0000 + offset), 0x10_0000_0000)
    assert f"the burst at {0x10_0000_0000 + offset:#x} on port 1" in message
    assert message.endswith("(LOAD)")


def test_an_unknown_opcode_is_named(program):
    assert failure(program, registers(3, 0, 0, 0)) == (
        "The run ended at an instruction with an unknown opcode")


def test_an_unfinished_run_names_where_each_queue_stands(program):
    counts = {opcode.queue.name: sum(i.opcode == opcode for i in program.decoded())
              for opcode in Opcode}
    done = {f"RETIRED_{name}": count for name, count in counts.items()} | {"RETIRED_STORE": 1}
    stores = [n for n, i in enumerate(program.decoded()) if i.opcode == Opcode.STORE]
    message = standing(program, done)
    assert message.startswith(f"LOAD has completed all of its {counts['LOAD']} instructions; FILL")
    assert f"STORE is at instruction {stores[1]} (STORE " in message


def test_the_golden_device_is_fast():
    """The feed-forward layers of an encoder, 128 tokens: 0.15 G multiply-accumulates."""
    rng = np.random.default_rng(0)
    graph = heddle.Graph()
    x = graph.input("x", tokens=128, features=384)
    inner = graph.linear("inner", x, rng.normal(size=(1536, 384)), activation="gelu")
    graph.output(graph.linear("y", inner, rng.normal(size=(384, 1536))))
    given = {"x": rng.normal(size=(128, 384))}
    program = heddle.compile(graph, given, "zcu102")
    device, image, seconds = heddle.Golden(program.geometry), program.image(given), []
    for _ in range(3):
        start = time.process_time()
        device.run(program, image)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5  # a tenth of it, on a core of 2023
