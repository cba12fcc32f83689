"""The one reader of safetensors headers, held against the format's own library."""

from __future__ import annotations

import json
import os
import random
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from safetensors.numpy import save

from lorakit.weights.finite import inspect
from lorakit.weights.identify import sniff
from lorakit.weights.safetensors import HeaderError, Tensor, copy_with_metadata, read_header, write

# What we refuse although the library reads it, each by its own words.
STRICTER = ("twice", "does not begin with {", "keys other than dtype, shape and data_offsets")
ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


deserialize: Any = safetensors.deserialize


def file_of(path: Path, header: object, data: bytes = b"\0" * 4) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def fault_of(path: Path) -> str:
    try:
        read_header(path)
    except HeaderError as error:
        return error.fault
    return ""


@pytest.mark.parametrize(
    ("header", "data", "fault"),
    [
        ({"a": ONE}, 3, "is cut short: 72 of 73 bytes are there"),
        ({"a": ONE}, 5, "is 1 byte longer than its header says"),
        ({"a": ONE}, 9, "is 5 bytes longer than its header says"),
        ({"a": ONE, "b": ONE}, 4, "has tensors that overlap: b"),
        ({"a": ONE, "b": {**ONE, "data_offsets": [8, 12]}}, 12, "has a gap before b"),
        ({"a": {**ONE, "shape": [2]}}, 4, "its header is malformed: a takes 8 bytes, not 4"),
        ({"a": {**ONE, "data_offsets": [4, 0]}}, 4, "its header is malformed: a takes 4 bytes"),
        ({"a": {**ONE, "dtype": "Q8"}}, 4, "its header is malformed: a has the unknown type 'Q8'"),
        ({"a": {**ONE, "dtype": ["F32"]}}, 4, "its header is malformed: a has the unknown type"),
        ({"a": {**ONE, "shape": [True]}}, 4, "its header is malformed: a has no valid shape"),
        ({"a": {**ONE, "shape": [1.0]}}, 4, "its header is malformed: a has no valid shape"),
        ({"a": {**ONE, "shape": [-1, -1]}}, 4, "its header is malformed: a has no valid shape"),
        ({"a": {**ONE, "shape": [1 << 64, 0]}}, 0, "its header is malformed: a has no valid shape"),
        (
            {"a": {**ONE, "shape": [1 << 63] * 3 + [0]}},
            0,
            "its header is malformed: a is too large",
        ),
        ({"a": {**ONE, "data_offsets": [0, 4, 4]}}, 4, "its header is malformed: a has no valid"),
        ({"a": {**ONE, "more": 1}}, 4, "its header is malformed: a has keys other than"),
        ({"a": [ONE]}, 4, "its header is malformed: a is not a table"),
        ({"a": ONE, "__metadata__": {"x": 1}}, 4, "its header is malformed: __metadata__"),
        ({"a": ONE, "__metadata__": ["x"]}, 4, "its header is malformed: __metadata__"),
        (b'{"a":1,"a":1}', 0, "its header is malformed: 'a' is there twice"),
        (b'{"a":NaN}', 0, "its header is malformed: NaN"),
        (b' {"a":1}', 0, "its header does not begin with {"),
        (b'{"\\ud800":1}', 0, "its header is malformed: not valid Unicode"),
        (b'{"\xff":1}', 0, "its header is malformed: not valid UTF-8"),
        (b'{"a":' + b"[" * 100_000, 0, "its header is malformed: nested too deeply"),
        (b'{"a":' + b"9" * 5000 + b"}", 0, "its header is malformed: "),
    ],
)
def test_every_kind_of_wrong_file_has_one_sentence_that_every_reader_says(
    tmp_path: Path, header: object, data: int, fault: str
) -> None:
    path = file_of(tmp_path / "a.safetensors", header, bytes(data))
    assert fault_of(path).startswith(fault)
    assert inspect(path).fault == sniff(path).problem == fault_of(path)


def test_a_tensor_of_nothing_may_lie_anywhere_between_two_others(tmp_path: Path) -> None:
    nothing = {"dtype": "F16", "shape": [0, 7], "data_offsets": [4, 4]}
    header = {"b": {**ONE, "data_offsets": [4, 8]}, "none": nothing, "a": ONE}
    found = read_header(file_of(tmp_path / "x", header, bytes(8)))
    assert [name for name, _ in found.in_order()] == ["a", "none", "b"]


def test_a_pipe_a_device_a_folder_a_socket_and_a_link_loop_are_refused_without_waiting(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
    for name in ("pipe", "folder", "socket", "/dev/zero"):
        assert fault_of(tmp_path / name) == "is not a regular file"
    assert fault_of(tmp_path / "loop").startswith("cannot be read: Too many levels")
    assert fault_of(tmp_path / "none") == "does not exist"


def test_what_is_written_reads_back_here_and_in_the_library(tmp_path: Path) -> None:
    tensors = {"ä": ("BF16", (2, 3)), "none": ("F32", (0,)), "b": ("I64", ())}
    body = os.urandom(20)
    write(tmp_path / "x", tensors, {"k": "ü"}, [body[:5], body[5:]])
    found = read_header(tmp_path / "x")
    assert found.tensors["ä"] == Tensor("BF16", (2, 3), 0, 12)
    assert dict(found.metadata) == {"k": "ü"}
    theirs = dict(deserialize((tmp_path / "x").read_bytes()))
    assert {name: one["shape"] for name, one in theirs.items()} == {
        name: list(shape) for name, (_, shape) in tensors.items()
    }
    copy_with_metadata(tmp_path / "x", tmp_path / "y", {"k": "v", "ss_steps": "7"})
    assert (tmp_path / "y").read_bytes()[-20:] == body
    assert read_header(tmp_path / "y").steps == 7


def test_a_body_of_the_wrong_length_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        write(tmp_path / "x", {"a": ("F32", (1,))}, {}, [b"123"])
    assert list(tmp_path.iterdir()) == []


def library_fault(data: bytes) -> str:
    try:
        deserialize(data)
    except safetensors.SafetensorError as error:
        return str(error)
    return ""


# -- fuzz -----------------------------------------------------------------------------------------

VALUES: list[Any] = [
    *(None, True, False, 0, 1, 4, -1, 1.0, 1e3, 1 << 31, 1 << 63, 1 << 64, 1 << 70),
    *("", "F32", "BF16", "F4", "Q", "__metadata__", [], [0], [0, 4], [[1]], {}, {"a": ONE}),
]


def mutated(pick: random.Random, whole: bytes) -> bytes:
    length = int.from_bytes(whole[:8], "little")
    text, data = whole[8 : 8 + length], whole[8 + length :]
    kind = pick.randrange(8)
    if kind == 0:  # any byte of the file
        at = pick.randrange(len(whole))
        return whole[:at] + bytes([pick.randrange(256)]) + whole[at + 1 :]
    if kind == 1:  # shorter or longer
        return whole[: pick.randrange(len(whole))] if pick.random() < 0.6 else whole + bytes(3)
    if kind == 2:  # the length of the header
        return (
            pick.choice([0, 1, 2, length - 1, length + 1, length + 8, 10**8 + 1, 1 << 62]).to_bytes(
                8, "little"
            )
            + text
            + data
        )
    if kind in (3, 4):  # a piece of the text
        at, cut = pick.randrange(length), pick.choice([0, 0, 1, 2])
        piece = pick.choice(
            [b"0", b"-", b".5", b"e9", b'"', b",", b"{", b"]", b" ", b"\n", b"\0", b"\\ud800"]
        )
        text = text[:at] + piece + text[at + cut :]
        return len(text).to_bytes(8, "little") + text + data
    header = json.loads(text)
    name = pick.choice(list(header))
    if kind == 5:  # a value of one tensor
        field = pick.choice(["dtype", "shape", "data_offsets", "more", ""])
        if field and name != "__metadata__":
            header[name][field] = pick.choice(VALUES)
        else:
            header[name] = pick.choice(VALUES)
    elif kind == 6:  # one number
        numbers = header[name].get(pick.choice(["shape", "data_offsets"])) or [0]
        numbers[pick.randrange(len(numbers))] = pick.choice(VALUES)
    elif pick.random() < 0.5:  # one tensor less, or the same place twice
        del header[name]
    else:
        header[pick.choice(["z", "a"])] = header[name]
    text = json.dumps(header).encode()
    if pick.random() < 0.1:
        text = text[:-1] + b"," + text[1:]  # every key twice
    text += b" " * pick.choice([0, 0, -len(text) % 8])
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.slow
@pytest.mark.parametrize("count", [3000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_what_the_library_refuses_we_refuse_and_what_we_refuse_beyond_it_is_named(
    tmp_path: Path, count: int
) -> None:
    sound = [
        save({"a": np.ones(3, "<f4"), "b.c": np.zeros((2, 2), "<f2")}, metadata={"ss_steps": "3"}),
        save({"x": np.zeros((0, 4), "<f4"), "y": np.ones((), "<i8"), "z": np.ones(5, "u1")}),
    ]
    pick, path = random.Random(count), tmp_path / "x.safetensors"
    read = refused = 0
    for _ in range(count):
        data = mutated(pick, pick.choice(sound))
        path.unlink(missing_ok=True)  # rewriting in place waits for the disk
        path.write_bytes(data)
        ours = fault_of(path)
        theirs = library_fault(data)
        assert ours or not theirs, (theirs, data)
        assert theirs or not ours or any(word in ours for word in STRICTER), (ours, data)
        refused, read = refused + bool(theirs), read + (not ours)
    assert min(read, refused) > count // 20
