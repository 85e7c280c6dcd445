"""Lists the programs of this package: `python -m tutorial_support`."""

from tutorial_support import menu

if __name__ == "__main__":
    raise SystemExit(menu.main(package="tutorial_support"))
