r"""Computes the bottlenecks of all images before training, in one process or in several tasks.

    python -m flowers_transfer.extract --image_dir my_photos
    python -m tutorial_support.local_cluster --ps 0 --workers 2 -- \
        python -m flowers_transfer.extract --image_dir my_photos
    TF_CONFIG=... python -m flowers_transfer.extract        (each task; all share --bottleneck_dir)

The tasks fill one store, which training then reads. Each ends when the store is complete.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from flowers_transfer import base_graph, bottlenecks
from tutorial_support.cluster import replicas


@programs.program
def main(argv: list[str] | None = None) -> None:
    """Parses the flags and computes."""
    parser = programs.ArgumentParser(__doc__)
    bottlenecks.add_flags(parser)
    base_graph.add_flags(parser)
    replicas.add_wait_flag(parser)
    flags = parser.parse_args(argv)
    share = replicas.share_from_environment()
    images, facts = bottlenecks.create_image_lists(flags, {})
    base = base_graph.find(flags, {}, facts["sample"])
    found = bottlenecks.get_or_create_bottleneck(
        base, images, flags.bottleneck_dir, share, flags.wait_secs
    )
    print(f"The store holds the bottlenecks of {len(found.images.paths)} images.")


if __name__ == "__main__":
    sys.exit(main())
