"""Where the flower photos come from."""

from flowers_transfer import flower_photos
from tests import loopback
from tutorial_support import datasets, image_lists


def test_the_sample_is_found_where_the_photos_cannot_be_had(monkeypatch, caplog):
    with loopback.serve({"/flower_photos.tgz": loopback.sends(b"not found", 404)}) as address:
        remote = datasets.RemoteFile(
            "flower_photos.tgz", 10, "0" * 64, (f"{address}/flower_photos.tgz",)
        )
        monkeypatch.setattr(flower_photos, "ARCHIVE", remote)
        folder, sample = flower_photos.find_folder(None)
    assert sample and "drawings of flowers, not photos" in caplog.text
    images = image_lists.create(folder)
    assert len(images.paths) == 180
    assert all(name.startswith("drawn_") for name in images.class_names)
