"""Where the flower photos come from."""

import argparse

from flowers_transfer import bottlenecks
from tests import loopback
from tutorial_support import files


def test_the_sample_is_found_where_the_photos_cannot_be_had(monkeypatch, caplog):
    parser = argparse.ArgumentParser()
    bottlenecks.add_flags(parser)
    with loopback.serve({"/flower_photos.tgz": loopback.sends(b"not found", 404)}) as address:
        remote = files.RemoteFile(
            "flower_photos.tgz", 10, "0" * 64, (f"{address}/flower_photos.tgz",)
        )
        monkeypatch.setattr(bottlenecks, "ARCHIVE", remote)
        images, facts = bottlenecks.create_image_lists(parser.parse_args([]), {})
    assert facts["sample"] and "drawings of flowers, not photos" in caplog.text
    assert len(images.paths) == 180
    assert all(name.startswith("drawn_") for name in images.class_names)
