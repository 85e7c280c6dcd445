"""Runs a training cluster on this machine; see `tutorial_support.cluster.launcher`."""

import sys

from tutorial_support.cluster.launcher import main

if __name__ == "__main__":
    sys.exit(main())
