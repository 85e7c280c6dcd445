"""Lists the programs of this package: `python -m catsdogs_finetune`."""

from tutorial_support import menu

if __name__ == "__main__":
    raise SystemExit(menu.main(package="catsdogs_finetune"))
