"""Computes the bottlenecks of all images ahead of training, alone or divided over several tasks.

    python -m flowers_transfer.extract --image_dir my_photos
    python -m tutorial_support.local_cluster --ps 0 --workers 2 -- \
        python -m flowers_transfer.extract --image_dir my_photos
    TF_CONFIG=... python -m flowers_transfer.extract        (each task; --bottleneck_dir is shared)

All tasks end with the whole in one store, which training then reads.
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
    share = replicas.share_from_environment(flags.wait_secs)
    images, facts = bottlenecks.create_image_lists(flags, {})
    base = base_graph.find(flags, {}, facts["sample"])
    found = bottlenecks.get_or_create_bottleneck(base, images, flags.bottleneck_dir, share)
    print(f"The store holds the bottlenecks of {len(found.images.paths)} images.")


if __name__ == "__main__":
    sys.exit(main())
