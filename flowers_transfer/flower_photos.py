"""Finding the images: a folder that the user names, the flower photos, or the shipped drawings."""

from tutorial_support import datasets

FOLDER = "flower_photos"
ARCHIVE = datasets.RemoteFile(
    "flower_photos.tgz",
    228_813_984,
    # As in TensorFlow Datasets, url_checksums/tf_flowers.txt.
    "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    ("https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",),
)


def find_folder(image_dir, sample=False):
    """Returns the folder of class folders: a named one, the flower photos, or the sample.

    Args:
        image_dir: a folder, or None.
        sample: take the shipped drawings outright.

    Returns:
        (pathlib.Path, whether it is the sample).
    """
    return datasets.find_images(
        image_dir, sample, ARCHIVE, FOLDER, "drawn_flowers", "drawings of flowers, not photos"
    )
