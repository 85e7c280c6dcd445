"""Lists the programs of this package: `python -m cifar10_cnn`."""

from tutorial_support import menu

if __name__ == "__main__":
    raise SystemExit(menu.main(package="cifar10_cnn"))
