"""Runs a cluster on this machine; see `tutorial_support.cluster.launcher`."""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from tutorial_support.cluster.launcher import main

if __name__ == "__main__":
    sys.exit(main())
