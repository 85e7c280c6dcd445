"""Computes the bottlenecks of all images ahead of training, alone or divided over several tasks.

    python -m flowers_transfer.extract --image_dir my_photos
    python -m tutorial_support.local_cluster --ps 0 --workers 2 -- \
        python -m flowers_transfer.extract --image_dir my_photos
    TF_CONFIG=... python -m flowers_transfer.extract        (each task; --bottleneck_dir is shared)

All tasks end with the whole in one store, which training then reads.
"""

import sys

from flowers_transfer import flags as training_flags
from tutorial_support import replicas
from tutorial_support.programs import ArgumentParser, program


@program
def main(argv=None):
    """Parses the flags and computes."""
    parser = ArgumentParser(__doc__)
    training_flags.add_data_flags(parser)
    training_flags.add_base_flags(parser)
    replicas.add_wait_flag(parser)
    flags = parser.parse_args(argv)
    source = training_flags.find_source(flags)
    found = source.bottlenecks(replicas.share_from_environment(flags.wait_secs))
    print(f"The store holds the bottlenecks of {len(found.images.paths)} images.")


if __name__ == "__main__":
    sys.exit(main())
