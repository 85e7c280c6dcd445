"""Reading event files that are intact, damaged, truncated, unusual or empty."""

import os
import pathlib
import struct

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tutorial_support import event_files, events


def record(*summaries, step=0, **fields):
    return tf.Event(step=step, summary=tf.Summary(value=summaries), **fields).SerializeToString()


def scalar(value, tag="loss"):
    return tf.Summary.Value(tag=tag, simple_value=value)


def tensor(value, tag="loss", plugin="scalars"):
    value = tf.Summary.Value(tag=tag, tensor=tf.make_tensor_proto(value))
    value.metadata.plugin_data.plugin_name = plugin
    return value


def write(path, *records):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in records:
            writer.write(content)
    return pathlib.Path(path)


def steps(count, start=0):
    return [record(scalar(step), step=step) for step in range(start, start + count)]


def size_of(content):
    return len(content) + 16


def losses(folder="run"):
    return {tag.name: tag.steps for tag in event_files.read(folder)}.get("loss")


@pytest.mark.parametrize("place", [3, 9, 14, -2])
def test_a_flipped_byte_costs_one_record_and_is_told(place, caplog):
    """The damage is in the length, its checksum, the content, or the content's checksum."""
    records = steps(10)
    path = write("run/events.out.tfevents.1.host", *records)
    content = bytearray(path.read_bytes())
    start = sum(map(size_of, records[:4]))
    content[start + (place if place > 0 else size_of(records[4]) + place)] ^= 255
    path.write_bytes(content)
    assert losses() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert f"{size_of(records[4])} unreadable bytes in 1 places" in caplog.text


def test_a_length_of_gigabytes_costs_one_record(caplog):
    records = steps(6)
    path = write("run/events.out.tfevents.1.host", *records)
    # A header with a valid checksum that declares a record of 2**35 bytes.
    length = struct.pack("<Q", 2**35)
    crc = 0xFFFFFFFF
    for byte in length:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    content = bytearray(path.read_bytes())
    start = sum(map(size_of, records[:2]))
    content[start : start + 12] = length + struct.pack("<I", masked)
    assert event_files._headers_in(bytes(content[start : start + 12])) == [0]
    path.write_bytes(content)
    assert losses() == [0, 1, 3, 4, 5]
    assert "damaged" in caplog.text


def test_of_a_file_that_is_still_written_every_whole_record_is_read(caplog):
    records = steps(5)
    path = write("run/events.out.tfevents.1.host", *records)
    whole = path.read_bytes()
    for missing in (1, 5, size_of(records[4]) - 3):
        path.write_bytes(whole[:-missing])
        assert losses() == [0, 1, 2, 3]
    assert caplog.text == ""


def test_files_are_read_in_the_order_of_their_numbers_not_of_the_clock():
    start = tf.SessionLog(status=tf.SessionLog.START)
    write("run/events.out.tfevents.900.host.9", *steps(6))
    write("run/events.out.tfevents.100.host.10", record(step=3, session_log=start), *steps(2, 3))
    assert losses() == [0, 1, 2, 3, 4]


def test_the_graph_of_a_first_start_is_listed():
    with tf.Graph().as_default() as graph:
        tf.constant(1.0)
        writer = tf.summary.FileWriter("run", graph)
        writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), 0)
        writer.close()
    assert [tag.name for tag in event_files.read("run")] == ["__run_graph__"]


def test_an_unreadable_folder_is_named(monkeypatch, caplog):
    """Root may read everything, so the refusal is faked."""
    write("run/events.out.tfevents.1.host", *steps(2))
    scandir, refused = os.scandir, {"run/closed"}
    pathlib.Path("run/closed").mkdir()

    def refusing(path):
        if str(path) in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert losses() == [0, 1]
    assert "'run/closed' cannot be read (Permission denied)" in caplog.text
    refused.add("run")
    with pytest.raises(PermissionError):
        event_files.read("run")


def test_one_odd_tag_or_file_hides_no_other(caplog, capsys):
    untold = tf.Summary.Value(tag="untold", tensor=tf.make_tensor_proto([1.0]))
    large = tensor(1.0, "large")
    large.tensor.tensor_shape.dim.add(size=10**10)
    write(
        "run/events.out.tfevents.1.host",
        record(untold, tensor([1.0, 2.0], "vector"), tensor(b"text", "text"), large),
        record(tensor(np.zeros(0, np.float32), "empty"), tensor(np.float64(2.5), "double")),
        b"\xff no event",
        *steps(3),
        record(tensor(np.float32([7.0, 8.0])), step=3),
    )
    pathlib.Path("run/folder.tfevents").mkdir()
    pathlib.Path("run/events.out.tfevents.2.host").write_bytes(b"")
    pathlib.Path("run/events.out.tfevents.3.host").write_bytes(b"no event file")
    os.mkfifo("run/pipe.tfevents")
    found = {tag.name: tag for tag in event_files.read("run")}
    assert found["loss"].values == [0.0, 1.0, 2.0] and found["double"].values == [2.5]
    odd = {name: found[name].kind for name in ("untold", "vector", "text", "empty", "large")}
    assert set(odd.values()) == {"tensors"}
    assert "loss: 1 records are not a single number" in caplog.text
    assert events.main(["run"]) == 0
    assert "loss: 3 records, steps 0 to 2, last 2" in capsys.readouterr().out


def test_tags_and_kinds_are_those_of_tensorboard():
    from tensorboard.backend.event_processing import plugin_event_accumulator

    with tf.Graph().as_default() as graph, tf.Session() as sess:
        tf.summary.scalar("a", 2.5)
        tf.summary.histogram("h", [1.0, 2.0])
        tf.summary.image("i", tf.zeros([1, 2, 2, 3]))
        merged = sess.run(tf.summary.merge_all())
        metadata = tf.RunMetadata()
        with tf.summary.FileWriter("run", graph) as writer:
            writer.add_summary(merged, 1)
            writer.add_run_metadata(metadata, "step1", 1)
    accumulator = plugin_event_accumulator.EventAccumulator("run").Reload()
    expected = {
        (name, accumulator.SummaryMetadata(name).plugin_data.plugin_name)
        for name in accumulator.Tags()["tensors"]
    }
    plugins = {"graph": "graphs", "trace": "graph_tagged_run_metadata"}
    found = {(tag.name, plugins.get(tag.kind, tag.kind)) for tag in event_files.read("run")}
    assert found == expected and len(found) == 5


def test_nothing_but_empty_files_is_said_so(capsys):
    pathlib.Path("run").mkdir()
    pathlib.Path("run/events.out.tfevents.1.host").write_bytes(b"")
    assert events.main(["run"]) == 2
    assert "no tag in 'run': its event files are empty" in capsys.readouterr().err


def test_csv_goes_into_a_new_folder_and_a_full_disk_is_told(capsys):
    write("run/events.out.tfevents.1.host", *steps(2))
    assert events.main(["run", "--csv", "new/folder/x.csv"]) == 0
    lines = pathlib.Path("new/folder/x.csv").read_text().splitlines()
    assert lines == ["run,tag,step,value", ".,loss,0,0.0", ".,loss,1,1.0"]
    for path in ("new", "new/folder/x.csv/y.csv"):
        assert events.main(["run", "--csv", path]) == 2
        assert f"'{path}' " in capsys.readouterr().err
    if pathlib.Path("/dev/full").exists():
        assert events.main(["run", "--csv", "/dev/full"]) == 1
        assert "No space left on device" in capsys.readouterr().err
        assert pathlib.Path("/dev/full").is_char_device()


def test_a_table_that_csv_wrote_is_read_like_its_run(capsys):
    write("run/events.out.tfevents.1.host", *steps(2))
    assert events.main(["run", "--csv", "a.csv"]) == events.main(["run", "--csv", "b.csv"]) == 0
    assert events.read("a.csv") == event_files.read("run")
    capsys.readouterr()
    assert events.main(["a.csv", "b.csv", "--print", "--plot", "loss.png"]) == 0
    assert capsys.readouterr().out.split("\n")[::3] == ["a loss", "b loss", ""]
    assert pathlib.Path("loss.png").exists()
    for damage in ("", "run,tag\n", "run,tag,step,value\n.,loss,first,1\n"):
        pathlib.Path("a.csv").write_text(damage)
        assert events.main(["a.csv"]) == 2
        assert "a.csv: cannot be read" in capsys.readouterr().err
