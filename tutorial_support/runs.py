"""The folder of one training run: its flags, its checkpoints and what else it leaves.

A run folder holds `checkpoint` and `model.ckpt-<global_step>.*`, event files, `flags.json` and
pictures. Training again in it resumes.
"""

import json
import pathlib
import time

from tutorial_support import files
from tutorial_support.programs import UsageError

try:
    import fcntl
except ImportError:  # Windows: two trainings in one folder go unnoticed there
    fcntl = None

FLAGS_FILE = "flags.json"
_LOCK_FILE = ".lock"


# Flags that say how to begin, or how long to wait, not what the run is.
_FOR_THIS_START = ("fresh", "fallback", "wait_secs", "checkpoint_wait_secs")


def add_flags(parser, name, default):
    """Adds the flags of a run folder.

    Args:
        parser: argparse.ArgumentParser.
        name: the flag that names the folder, for example "--train_dir".
        default: its default.
    """
    parser.add_argument(name, default=default, help="the run's folder; a run in it is resumed")
    parser.add_argument("--fresh", action="store_true", help=f"move an earlier run in {name} aside")
    parser.add_argument(
        "--fallback",
        action="store_true",
        help="where the newest checkpoint is damaged, resume from the one before it",
    )


class RunFolder:
    """An opened run folder, locked against a second training until the process ends.

    Attributes:
        path: pathlib.Path of the folder.
        checkpoint_prefix: string for `Saver.save`, `<folder>/model.ckpt`.
        fallback: whether an older checkpoint may take the place of a damaged one.
    """

    def __init__(self, path, flags, may_change=()):
        """Creates the folder, or opens it to resume.

        Args:
            path: the folder.
            flags: dict of the program's flags; strings, numbers, bools and None. It is kept in
                flags.json, but for `fresh`: move an earlier run in `path` aside, to
                `<path>-<time>`, and start anew; for `fallback`; and for the longest waits.
            may_change: names of flags that a resumed run may have other values of.

        Raises:
            UsageError: the folder cannot be used, another process trains in it, or the run that
                it holds had other flags.
        """
        self.path = pathlib.Path(path)
        self.checkpoint_prefix = str(self.path / "model.ckpt")
        self.fallback = flags.get("fallback", False)
        try:
            if flags.get("fresh"):
                _move_aside(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.path)
            kept = {name: flags[name] for name in flags if name not in _FOR_THIS_START}
            self._settle_flags(kept, may_change)
        except OSError as error:
            raise UsageError(
                f"the run folder '{path}' cannot be used: {error.strerror}; name another one"
            ) from error

    def _settle_flags(self, flags, may_change):
        before = read_flags(self.path)
        differences = [
            f"--{name} was {before[name]}, is {flags[name]}"
            for name in flags
            if name in before and name not in may_change and before[name] != flags[name]
        ]
        if differences:
            raise UsageError(
                f"'{self.path}' holds a run with other flags ({'; '.join(differences)}): repeat "
                "them to resume it, or start anew with --fresh or in another folder"
            )
        files.write_text(self.path / FLAGS_FILE, json.dumps(flags, indent=2) + "\n")

    def close(self):
        """Lets others train in the folder before this process ends."""
        self._lock.close()

    def file(self, name):
        """Returns the path of `name` in the folder."""
        return self.path / name


def read_flags(path):
    """Returns the flags of the run in folder `path`; an empty dict where there are none.

    Raises:
        UsageError: flags.json is damaged.
    """
    path = pathlib.Path(path) / FLAGS_FILE
    try:
        flags = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(flags, dict):
            raise ValueError("not a JSON object")
        return flags
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}); mend it or move it away") from error


def _move_aside(path):
    if not (path / FLAGS_FILE).exists() and not (path / "checkpoint").exists():
        return  # nothing here that a run left
    if pathlib.Path.cwd().is_relative_to(path.resolve()):
        raise UsageError(f"--fresh cannot move '{path}', the current folder; name a subfolder")
    aside = path.with_name(time.strftime(f"{path.name}-%Y%m%d-%H%M%S"))
    serial = 1
    while aside.exists():
        serial += 1
        aside = aside.with_name(f"{aside.name}.{serial}")
    path.rename(aside)
    print(f"The earlier run is now in '{aside}'.")


def _lock(path):
    """Returns a locked file; the operating system unlocks it when the process ends, however."""
    stream = (path / _LOCK_FILE).open("w")
    if fcntl is not None:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process is training in '{path}'; wait for it or name another folder"
            ) from None
    return stream
