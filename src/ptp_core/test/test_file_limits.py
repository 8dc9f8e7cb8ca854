# SPDX-License-Identifier: Apache-2.0
"""Files that claim more than they hold, or lead elsewhere, are refused before room is made.

So is JSON that is too deep or too long.
"""

import io
import json
import resource
import sqlite3
import struct
import subprocess
import sys
import zipfile

import h5py
import lz4.frame
import numpy as np
import pytest
import yaml
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from mcap.writer import CompressionType, Writer

from ptp_core.data.array_limits import open_npz
from ptp_core.data.demo_file import open_file, read_demo, write_file
from ptp_core.data.file_limits import (
    JSON_DEEPEST,
    MIB,
    OverBudget,
    check_picture_size,
    declared_size,
    load_json,
    load_yaml,
    parse_json,
    parse_yaml,
    read_bytes,
)
from ptp_core.data.trajectory import CAMERA, Trajectory
from ptp_core.episodes.bag_budget import check_bag, check_mcap
from ptp_core.episodes.bag_reader import open_bag
from ptp_core.errors import DatasetError, EpisodeError

ZEROS = 2400  # MB that the bomb unpacks to
LIMIT = 1500 * MIB  # address space for what refuses a bomb; python with its libraries takes 700 MB


# Bags


def bag_of(path, pieces, compression=CompressionType.ZSTD, chunk=8 * MIB):
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=chunk, compression=compression)
        writer.start("ros2", "test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("chatter", "cdr", schema)
        for number, data in enumerate(pieces):
            writer.add_message(channel, number, data, number)
        writer.finish()
    return path


def string(text):
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(data)) + data


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """30 kB of a bag that unpack to 2.4 GB: one frame of zeros in each chunk."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.mcap"
    piece = zstandard.compress(bytes(240 * 10**6), 3)
    content = [b"\x89MCAP0\r\n", record(1, text(b"ros2") + text(b""))]
    content += [chunk_record(piece, 240 * 10**6)] * (ZEROS // 240)
    content += [record(2, bytes(20)), b"\x89MCAP0\r\n"]
    path.write_bytes(b"".join(content))
    return path


def text(content):
    return struct.pack("<I", len(content)) + content


def record(kind, content):
    return struct.pack("<BQ", kind, len(content)) + content


def chunk_record(data, unpacked, compression=b"zstd"):
    head = struct.pack("<QQQI", 0, 0, unpacked, 0) + text(compression)
    return record(6, head + struct.pack("<Q", len(data)) + data)


def test_a_small_bag_that_unpacks_to_gigabytes_is_refused_in_little_memory(bomb):
    assert bomb.stat().st_size < 300_000
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from ptp_core.episodes.bag_reader import open_bag\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({LIMIT}, {LIMIT}))\n"
        "try:\n    with open_bag(Path(sys.argv[1])) as bag: list(bag.messages())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, bomb], capture_output=True, text=True)
    assert said.stdout.startswith("EpisodeError") and "refused as a bag" in said.stdout, said
    assert "bomb.mcap" in said.stdout and "2.24 GiB" in said.stdout


@pytest.mark.parametrize("compression", list(CompressionType))
def test_honest_bags_pass_whatever_their_compression(tmp_path, compression):
    rng = np.random.default_rng(0)
    words = [string(rng.bytes(20_000).hex()) for _ in range(30)]
    path = bag_of(tmp_path / "bag.mcap", words, compression, chunk=100_000)
    check_bag(path)
    with open_bag(path) as bag:
        assert sum(1 for _ in bag.messages()) == 30


@pytest.mark.parametrize(
    ("data", "unpacked", "compression", "reason"),
    [
        (b"", 2**62, b"", "at most 268435456 are unpacked at once"),
        (zstandard.compress(bytes(300 * MIB)), 1000, b"zstd", "unpacks to 314572800"),
        (2 * zstandard.compress(bytes(150 * MIB)), 1000, b"zstd", "unpacks to 314572800"),
        (lz4.frame.compress(bytes(300 * MIB)), 1000, b"lz4", "unpacks to"),
        (b"x", 1000, b"bz2", "compression b'bz2'"),
    ],
)
def test_a_chunk_that_lies_is_found_out(tmp_path, data, unpacked, compression, reason):
    path = tmp_path / "bag.mcap"
    path.write_bytes(b"\x89MCAP0\r\n" + chunk_record(data, unpacked, compression))
    with pytest.raises(EpisodeError, match=reason):
        check_bag(path)


def test_a_frame_that_does_not_say_its_size_is_counted(tmp_path):
    packer = zstandard.ZstdCompressor(write_content_size=False)
    path = tmp_path / "bag.mcap"
    path.write_bytes(b"\x89MCAP0\r\n" + chunk_record(packer.compress(bytes(300 * MIB)), 1000))
    with pytest.raises(EpisodeError, match="unpacks to"):
        check_mcap(path)
    path.write_bytes(b"\x89MCAP0\r\n" + chunk_record(packer.compress(bytes(MIB)), MIB))
    check_mcap(path)


def test_an_index_that_points_elsewhere_is_refused(tmp_path):
    path = bag_of(tmp_path / "bag.mcap", [string("a")] * 3)
    check_bag(path)
    content = bytearray(path.read_bytes())
    index = content.rindex(text(b"zstd")) + 8
    content[index] ^= 1  # the stored size
    path.write_bytes(content)
    with pytest.raises(EpisodeError, match="the index names a chunk"):
        check_bag(path)


def test_a_truncated_bag_is_left_to_the_reader(tmp_path):
    path = bag_of(tmp_path / "bag.mcap", [string("a" * 1000)] * 100, chunk=2000)
    content = path.read_bytes()
    for cut in (0, 5, 20, 1000, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:cut])
        check_bag(path)
        check_mcap(path)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW messages AS SELECT 1 AS id, zeroblob(1000000000) AS data",
        "CREATE TABLE messages(id INTEGER, data BLOB GENERATED ALWAYS AS (zeroblob(1000000000)))",
        "CREATE TABLE messages(id INTEGER, data BLOB AS (zeroblob(1000000000)))",
    ],
)
def test_a_data_base_that_makes_rows_up_is_refused(tmp_path, statement):
    path = tmp_path / "bag.db3"
    with sqlite3.connect(path) as base:
        base.execute(statement)
    base.close()
    with pytest.raises(EpisodeError, match="refused as a bag"):
        check_bag(path)


def test_metadata_with_aliases_without_end_or_packed_files_is_refused(tmp_path):
    (tmp_path / "metadata.yaml").write_text(BILLION_LAUGHS)
    with pytest.raises(EpisodeError, match="aliases that expand to more than"):
        check_bag(tmp_path)
    values = {"rosbag2_bagfile_information": {"compression_mode": "FILE"}}
    (tmp_path / "metadata.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(EpisodeError, match="compression_mode FILE: `ros2 bag convert`"):
        check_bag(tmp_path)


LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
BILLION_LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (LAUGHS, "alias"),
        ("[" * 10**5, "levels"),
        ("a: " + "x" * 5 * 10**6, "at most"),
        ("a: 2022-99-99", "month"),
        ("? [1]\n: 2", "unhashable"),
        ("a: !!python/object/apply:os.system [id]", "constructor"),
    ],
)
def test_yaml_that_is_no_plain_text_is_refused(given, reason):
    with pytest.raises(yaml.YAMLError, match=reason):
        parse_yaml(given)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (BILLION_LAUGHS, "aliases that expand to more than 1048576 characters"),
        (f"a: &a {'x' * 10**5}\nb: [{', '.join(['*a'] * 20)}]", "expand to more than"),
        ("a: &a {<<: *a}", "part of what it names"),
        ("&a [*a]", "part of what it names"),
        ("[*a]", "undefined alias"),
        ("[&a 1, &a 2]", "duplicate anchor"),
    ],
)
def test_aliases_in_files_of_others_have_a_bound(given, reason):
    with pytest.raises(yaml.YAMLError, match=reason):
        parse_yaml(given, aliases=True)


def test_metadata_with_some_aliases_is_read():
    inf = {"sec": 9223372036, "nsec": 854775807}
    values = {"rosbag2_bagfile_information": [{"deadline": inf, "lifespan": [inf]}] * 9}
    text = yaml.safe_dump(values)
    assert "*id001" in text
    assert parse_yaml(text, aliases=True) == values
    assert parse_yaml(LAUGHS, aliases=True)["c"] == [[["x", "x"]] * 2] * 2


def test_plain_yaml_is_read_as_before(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("a: [1, 2.5, null, {b: 'c'}]\n")
    assert load_yaml(path) == {"a": [1, 2.5, None, {"b": "c"}]}


# npz


def npz_with(path, header, body=b"", packed=True):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else 0) as archive:
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, header)
        archive.writestr("image.npy", stream.getvalue() + body)
    return path


@pytest.mark.parametrize(
    ("shape", "kind", "body", "reason"),
    [
        ((2**36,), "|u1", b"", "declares"),  # 64 GB
        ((2**20, 2**20), "<f8", b"x", "declares"),
        ((-1,), "|u1", b"", "declares"),
        ((1,), "|O", b"x", "Python objects"),
        ((2 * MIB,), "|u1", bytes(2 * MIB), "at most 1 MiB"),
    ],
)
def test_an_npz_that_claims_too_much_is_refused(tmp_path, shape, kind, body, reason):
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    path = npz_with(tmp_path / "goal.npz", header, body)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=reason), open_npz(path, MIB) as arrays:
        arrays["image"].sum()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024  # kB


def test_an_honest_npz_is_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", zeros=np.zeros((100, 48, 48, 3), np.uint8), n=3)
    with open_npz(tmp_path / "a.npz") as arrays:
        assert arrays["zeros"].shape == (100, 48, 48, 3) and int(arrays["n"]) == 3


# HDF5


def demo(path):
    images = np.zeros((5, 48, 48, 3), np.uint8)
    steps = Trajectory(0, {CAMERA: images}, np.zeros((5, 5), np.float32), np.zeros(5, np.float32))
    write_file(path, {"env": "toy"}, [steps])
    return path


def outside(path, kind, secret):
    """Put something into the file that is not in it."""
    with h5py.File(path, "a") as file:
        group = file["data/demo_0"]
        del group["actions"]
        if kind == "external link":
            group["actions"] = h5py.ExternalLink(str(secret), "/x")
        elif kind == "soft link":
            group["actions"] = h5py.SoftLink("/data/demo_0/rewards")
        elif kind == "raw storage":
            where = [(str(secret), 0, 100)]
            group.create_dataset("actions", (5, 5), "<f4", external=where)
        elif kind == "virtual":
            layout = h5py.VirtualLayout((5, 5), "<f4")
            layout[:] = h5py.VirtualSource(str(secret), "x", (5, 5))
            group.create_virtual_dataset("actions", layout)
        elif kind == "declared size":
            group.create_dataset("actions", (2**34, 5), "<f4", chunks=(1024, 5))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("external link", "actions leads to another file"),
        ("soft link", "actions leads to another file"),
        ("raw storage", "actions keeps its data in another file"),
        ("virtual", "actions keeps its data in another file"),
        ("declared size", "actions: it declares 320 GiB"),
    ],
)
def test_hdf5_that_leads_out_of_the_file_or_claims_too_much_is_refused(tmp_path, kind, reason):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 1000)
    path = demo(tmp_path / "demo.hdf5")
    outside(path, kind, secret)
    with pytest.raises(DatasetError, match=f"demo.hdf5: refused as a data set .*{reason}"):
        open_file(path)


def test_hdf5_with_a_group_in_itself_is_read_once(tmp_path):
    path = demo(tmp_path / "demo.hdf5")
    with h5py.File(path, "a") as file:
        file["data/demo_0/again"] = file["data"]
    with open_file(path) as file:
        assert len(read_demo(file, path, 0).actions) == 5


# Pictures and plain files


def test_the_size_of_a_picture_is_known_before_it_is_decoded():
    import cv2

    pixels = np.zeros((30, 40, 3), np.uint8)
    for kind in (".png", ".jpg"):
        assert declared_size(cv2.imencode(kind, pixels)[1].tobytes()) == (40, 30)
    png = bytearray(cv2.imencode(".png", pixels)[1].tobytes())
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(OverBudget, match="60000 x 60000"):
        check_picture_size(bytes(png))
    for data in (b"", b"GIF89a", bytes(png[:20]), b"\xff\xd8\xff"):
        with pytest.raises(ValueError, match="no PNG and no JPEG"):
            check_picture_size(data)


def test_a_file_without_end_is_not_read_whole(tmp_path):
    path = tmp_path / "weights"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OverBudget, match="more than 100 bytes"):
        read_bytes(path, 100)
    path.write_text(json.dumps([1]))
    assert read_bytes(path, 100) == b"[1]"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text()
    | st.integers(-(2**53), 2**53),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_within_bounds_comes_back(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 10**6, "levels"),
        ("[" * (JSON_DEEPEST + 1) + "]" * (JSON_DEEPEST + 1), "levels"),
        ('{"a":' * 10**5, "levels"),
        ("9" * 400, "400 digits"),
        ("-" + "9" * 10**5, "digits"),
        (" " * 101, "at most 100"),
        (b"\xff\x80[]", "decode"),
    ],
)
def test_what_is_beyond_them_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(text, 100 if text[:1] == " " else 2 * 10**6)


def test_a_large_file_is_not_read_whole(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="more than 1000"):
        load_json(path, 1000)
