"""Lists the programs of this package: `python -m mnist_mechanics`."""

from tutorial_support import menu

if __name__ == "__main__":
    raise SystemExit(menu.main(package="mnist_mechanics"))
