# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with a bag costs that step or that bag, by name and reason; others go on."""

import json

import numpy as np
import pytest
import yaml
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ptp_core.config.loading import from_dict
from ptp_core.data.dataset import Dataset
from ptp_core.episodes.bag_mapping import BagMapping, load_mapping
from ptp_core.episodes.bag_testing import (
    GRIPPER_TOPIC,
    IMAGE_TOPIC,
    JOINTS_TOPIC,
    START,
    TWIST_TOPIC,
    header,
    joints,
    script,
    write_bag,
)
from ptp_core.episodes.import_bags import find_sources, import_bags, report_lines
from ptp_core.episodes.import_filter import Selection
from ptp_core.errors import ConfigError, EpisodeError, InputError

VALUES = {"image": {"topic": IMAGE_TOPIC}, "twist": {"topic": TWIST_TOPIC}, "rotation": 0.1}
GRIP = {"topic": GRIPPER_TOPIC, "value": "position[0]", "open": 0.04, "closed": 0.0}
SMALL = Selection(min_steps=3, idle_margin=0)


def mapping(**values):
    return from_dict(BagMapping, {**VALUES, **values}, source="mapping")


def convert(message):
    if len(message.data) != 48 * 48 * 3:
        raise InputError(f"image has {len(message.data)} bytes")
    return message.data.reshape(48, 48, 3)


def bring_in(tmp_path, *paths, own=None, picture=convert, **options):
    return import_bags(
        find_sources(paths or [tmp_path / "bags"]),
        tmp_path / "data.h5",
        mapping=own or mapping(),
        picture=picture,
        selection=SMALL,
        **options,
    )


def bags(tmp_path, **scripts):
    (tmp_path / "bags").mkdir()
    return {name: write_bag(tmp_path / "bags" / name, m) for name, m in scripts.items()}


def reason(summary, name):
    (entry,) = (entry for entry in summary.reports if entry["name"] == name)
    return entry["reason"]


def with_picture(number, change):
    """The script with ``change`` made to its picture ``number``."""
    messages = script()
    topic, time, message = messages[number]
    messages[number] = (topic, time, change(message))
    return messages


def short(message):
    message.data = message.data[:100]
    return message


@pytest.mark.parametrize(
    "change",
    [short, lambda message: ("sensor_msgs/msg/Image", b"\0\1\0\0odd")],
    ids=["short", "no message"],
)
def test_a_bad_picture_costs_itself_and_the_step_that_has_none_new_enough(tmp_path, change):
    bags(tmp_path, one=with_picture(22, change), two=script())
    fresh = mapping(image={"topic": IMAGE_TOPIC, "max_age": 0.035})
    summary = bring_in(tmp_path, own=fresh)
    one, two = summary.reports
    assert (one["bad_images"], one["kept"], two["kept"]) == (1, 18, 19)
    assert one["refused"] == {"the picture is older than 0.035 s": 1} and one["pieces"] == 2
    assert "1 pictures that cannot be read (" in report_lines(summary)[0]


@pytest.mark.parametrize(
    "picture",
    [
        lambda message: message.nothing,
        lambda message: np.zeros((48, 48)),
        lambda message: np.zeros((48, 48, 3)),
    ],
    ids=["any error", "shape", "floats"],
)
def test_a_bag_without_one_good_picture_is_refused_with_the_reason_of_the_first(tmp_path, picture):
    bags(tmp_path, one=script())
    with pytest.raises(EpisodeError, match=r"none of 60 pictures can be read: .+"):
        bring_in(tmp_path, picture=picture)


def test_a_type_that_the_bag_does_not_define_refuses_that_bag(tmp_path):
    kind = "my_gripper_msgs/msg/State"
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("float64 width\n", kind))
    state = store.types[kind]
    messages = [m for m in script() if m[0] != GRIPPER_TOPIC]
    messages += [(GRIPPER_TOPIC, START + n / 10, state(width=0.0)) for n in range(20)]
    folder = tmp_path / "bags"
    folder.mkdir()
    write_bag(folder / "with", messages, store=store)
    without = write_bag(folder / "without", messages, store=store)
    (file,) = without.glob("*.mcap")
    content = file.read_bytes()
    assert content.count(b"float64 width") >= 1
    _without_schema(file, kind)
    own = mapping(gripper={"topic": GRIPPER_TOPIC, "value": "width"})
    summary = bring_in(tmp_path, own=own)
    assert summary.episodes == 1
    assert f"no definition of {kind}, the type of {GRIPPER_TOPIC}" in reason(summary, "without")


def test_a_bag_whose_metadata_repeats_values_by_aliases_is_imported(tmp_path):
    folder = bags(tmp_path, one=script())["one"]
    path = folder / "metadata.yaml"
    values = yaml.safe_load(path.read_text())
    about = values["rosbag2_bagfile_information"]
    about["files"][0]["duration"] = about["duration"]  # as programs write that use PyYAML
    path.write_text(yaml.safe_dump(values))
    assert "duration: *id" in path.read_text()
    assert bring_in(tmp_path).episodes == 1


def _without_schema(file, kind):
    """Write the file again as a recorder does that has no definition of ``kind``."""
    from mcap.reader import make_reader
    from mcap.writer import Writer

    with open(file, "rb") as stream:
        reader = make_reader(stream)
        found = [(s, c, m) for s, c, m in reader.iter_messages()]
    with open(file, "wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2")
        channels = {}
        for schema, channel, message in found:
            if channel.id not in channels:
                named = schema.name == kind
                encoding, data = ("", b"") if named else (schema.encoding, schema.data)
                number = writer.register_schema(schema.name, encoding, data)
                metadata = {k: v for k, v in channel.metadata.items() if "hash" not in k}
                channels[channel.id] = writer.register_channel(
                    channel.topic, channel.message_encoding, number, metadata
                )
            writer.add_message(
                channels[channel.id], message.log_time, message.data, message.publish_time
            )
        writer.finish()


def test_bytes_that_are_damaged_in_the_middle_refuse_that_bag_alone(tmp_path):
    made = bags(tmp_path, bad=script(), good=script())
    (file,) = made["bad"].glob("*.mcap")
    content = bytearray(file.read_bytes())
    content[len(content) // 4 : len(content) // 2] = b"\xff" * (
        len(content) // 2 - len(content) // 4
    )
    file.write_bytes(content)
    report = tmp_path / "new" / "folder" / "report.json"
    summary = bring_in(tmp_path, report=report)
    assert summary.episodes == 1 and "cannot be read as a bag (" in reason(summary, "bad")
    entries = json.loads(report.read_text())["reports"]
    assert [(entry["path"], entry["accepted"]) for entry in entries] == [
        (str(made["bad"]), False),
        (str(made["good"]), True),
    ]


def test_whatever_is_raised_in_a_bag_refuses_that_bag(tmp_path):
    made = bags(tmp_path, bad=script(), good=script())
    (made["bad"] / "metadata.yaml").write_text("rosbag2_bagfile_information: [1, 2]\n")
    summary = bring_in(tmp_path)
    assert summary.episodes == 1
    assert "metadata.yaml is damaged; `ros2 bag reindex -s mcap" in reason(summary, "bad")


def test_a_step_before_the_gripper_was_told_is_refused_unless_the_mapping_says_what_held(tmp_path):
    messages = [m for m in script() if m[0] != GRIPPER_TOPIC]
    messages.append((GRIPPER_TOPIC, START + 1.0, joints(START + 1.0, 0.0)))
    bags(tmp_path, one=messages)
    (report,) = bring_in(tmp_path, own=mapping(gripper=GRIP)).reports
    assert report["refused"] == {"the gripper was not told yet: gripper.before is not set": 10}
    (tmp_path / "data.h5").unlink()
    bring_in(tmp_path, own=mapping(gripper={**GRIP, "before": 0.04}))
    (trajectory,) = Dataset(tmp_path / "data.h5")
    assert trajectory.actions[:, 4].tolist() == [-1.0] * 10 + [1.0] * 9


def test_a_state_before_its_first_message_is_unknown_or_as_the_mapping_says(tmp_path):
    import h5py

    bags(tmp_path, one=[m for m in script() if m[0] != JOINTS_TOPIC or m[1] > START + 0.5])
    state = {"name": "q", "topic": JOINTS_TOPIC, "value": "position"}
    (report,) = bring_in(tmp_path, own=mapping(states=[state])).reports
    assert report["refused"] == {"there is no q yet": 5}
    (tmp_path / "data.h5").unlink()
    bring_in(tmp_path, own=mapping(states=[{**state, "before": [7.0, 8.0]}]))
    with h5py.File(tmp_path / "data.h5") as file:
        values = file["data/demo_0/obs/q"][()]
    assert values[:5].tolist() == [[7.0, 8.0]] * 5 and values[5, 1] == 1.0
    (tmp_path / "data.h5").unlink()
    with pytest.raises(EpisodeError, match="q has 2 values, its before 3"):
        bring_in(tmp_path, own=mapping(states=[{**state, "before": [1.0, 2.0, 3.0]}]))


@pytest.mark.parametrize(("topic", "use"), [(TWIST_TOPIC, "twist"), (IMAGE_TOPIC, "image")])
def test_a_frame_that_changes_within_a_bag_refuses_it(tmp_path, topic, use):
    messages = script()
    for name, time, message in messages:
        if name == topic and time > START + 1.0:
            message.header = header(time, "tool0")
    bags(tmp_path, bad=messages, good=script())
    summary = bring_in(tmp_path)
    assert summary.episodes == 1
    assert f'{topic} ({use}) changes from "base" to "tool0"' in reason(summary, "bad")


def test_bags_whose_commands_are_in_another_frame_are_refused(tmp_path):
    other = script()
    for name, time, message in other:
        if name == TWIST_TOPIC:
            message.header = header(time, "tool0")
    bags(tmp_path, one=script(), two=other)
    summary = bring_in(tmp_path)
    assert 'in the frame "tool0", those of one in "base"' in reason(summary, "two")
    (tmp_path / "data.h5").unlink()
    tool = mapping(twist={"topic": TWIST_TOPIC, "frame": "tool0"})
    summary = bring_in(tmp_path, own=tool)
    assert summary.episodes == 1 and 'twist.frame is "tool0"' in reason(summary, "one")


def test_joints_that_change_places_refuse_the_bag(tmp_path):
    messages = script()
    messages += [(JOINTS_TOPIC, START + 2.0, joints(START + 2.0, 0.5, names=("b", "a")))]
    bags(tmp_path, one=messages)
    own = mapping(states=[{"name": "q", "topic": JOINTS_TOPIC, "value": "position"}])
    with pytest.raises(EpisodeError, match="change from a, b to b, a at message 200"):
        bring_in(tmp_path, own=own)


def test_a_topic_of_two_types_refuses_the_bag(tmp_path):
    messages = [*script(), (GRIPPER_TOPIC, START + 1.5, header(START))]
    bags(tmp_path, one=messages)
    with pytest.raises(EpisodeError, match=r"/gripper is of several types: sensor_msgs"):
        bring_in(tmp_path, own=mapping(gripper=GRIP))


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ("[{name: q, topic: /a}, {name: p, topic: /a}, {name: q, topic: /b}]", "two have the na"),
        ("[{name: image}]", 'the name "image" must be letters, digits and _, and not image'),
        ("[{name: ../actions}]", 'the name "../actions" must be letters'),
        ("[{name: a/b}]", "must be letters"),
        ('[{name: ""}]', "must be letters"),
    ],
)
def test_states_that_would_overwrite_each_other_or_leave_their_place_are_named(
    tmp_path, states, message
):
    path = tmp_path / "m.yaml"
    path.write_text(f"states: {states}\n")
    with pytest.raises(ConfigError, match=message):
        load_mapping(path)


def test_an_output_that_cannot_be_made_is_said_before_a_bag_is_read(tmp_path):
    bags(tmp_path, one=script())
    (tmp_path / "file").write_text("")

    def reading(sources):
        raise AssertionError("a bag is read")

    sources = find_sources([tmp_path / "bags"])
    options = {"mapping": mapping(), "picture": convert, "progress": reading}
    with pytest.raises(InputError, match=r"file is a file: name another folder"):
        import_bags(sources, tmp_path / "file" / "d.h5", **options)
    with pytest.raises(InputError, match=r"file is a file: name another folder"):
        import_bags(sources, tmp_path / "d.h5", report=tmp_path / "file" / "r.json", **options)
    with pytest.raises(InputError, match=r"bags is a folder: name a file"):
        import_bags(sources, tmp_path / "d.h5", report=tmp_path / "bags", **options)


def test_two_imports_into_one_file_at_a_time_are_refused(tmp_path):
    bags(tmp_path, one=script())

    def second(sources):
        with pytest.raises(InputError, match="another process is making this file"):
            bring_in(tmp_path)
        return sources

    assert bring_in(tmp_path, progress=second).episodes == 1
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
