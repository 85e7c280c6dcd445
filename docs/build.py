"""Builds the site: `python -m docs.build`. See README.md in this folder."""

import argparse
import importlib
import os
import pathlib
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGES = {
    "mnist_mechanics": "MNIST mechanics",
    "cifar10_cnn": "CIFAR-10",
    "flowers_transfer": "Flower photos",
    "catsdogs_finetune": "Cats and dogs",
    "tutorial_support": "Shared code",
    "porting": "Help for porting",
    "exercises": "Helpers for the notebooks",
}
# Folders whose pages, pictures and linked files become part of the site.
_FOLDERS = (*PACKAGES, "notebooks", "benchmarks", "deploy", "data")
_SUFFIXES = {".md", ".png", ".svg", ".ipynb", ".py", ".txt", ".csv", ".yaml", ".yml", ".sh", ".tf"}
_LINKED = ("LICENSE", "setup.py", "pyproject.toml", "Dockerfile")


def assemble(tree: pathlib.Path) -> None:
    """Copies all sources of the site into the folder `tree`, laid out as in the repository."""
    for path in [*ROOT.glob("*.md"), *(ROOT / name for name in _LINKED)]:
        if path.is_file():
            _copy(path, tree)
    for folder in _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            has_outputs = folder == "notebooks" and path.with_suffix(".ipynb").exists()
            if has_outputs and path.suffix == ".md":
                continue  # the page comes from the .ipynb
            if path.suffix in _SUFFIXES or path.name == "Dockerfile":
                _copy(path, tree)
    for path in HERE.rglob("*"):  # the site's own pages, on top
        if path.is_file() and path.relative_to(HERE).parts[0] not in ("_build", "__pycache__"):
            _copy(path, tree)
    _write_api(tree / "api")
    from docs import mnist_graph

    (tree / "mnist_graph.fragment.html").write_text(mnist_graph.fragment(), encoding="utf-8")


def _place(path: pathlib.Path) -> pathlib.Path:
    """Returns the place of a file in the site, whose own pages are at the top."""
    is_own = path.is_relative_to(HERE) and path != HERE / "README.md"
    return path.relative_to(HERE if is_own else ROOT)


def _copy(source: pathlib.Path, tree: pathlib.Path) -> None:
    target = tree / _place(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".md":
        shutil.copyfile(source, target)
        return

    def moved(link: re.Match) -> str:
        path = (source.parent / link[2]).resolve()
        if path.is_dir():
            return link[1]  # a folder has no page to link to
        if not path.is_file():
            return link[0]
        return f"[{link[1]}]({os.path.relpath(_place(path), _place(source).parent)}{link[3]})"

    text = source.read_text(encoding="utf-8")
    text = re.sub(r"\[([^\]]*)\]\(([^)#:]+)(#[^)]*|)\)", moved, text)
    target.write_text(text, encoding="utf-8")


def _write_api(folder: pathlib.Path) -> None:
    """Writes one page per package, with all of its modules."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, title in PACKAGES.items():
        lines = [f"# {package}", "", f"{title}.", ""]
        for name in _modules(package):
            lines += [f"## {name}", "", "```{eval-rst}", f".. automodule:: {name}", "```", ""]
        (folder / f"{package}.md").write_text("\n".join(lines), encoding="utf-8")


def _modules(package: str) -> list[str]:
    found = importlib.import_module(package)
    names = [info.name for info in pkgutil.walk_packages(found.__path__, f"{package}.")]
    # The recipes "before_..." are TensorFlow 1 programs, which cannot be imported.
    unwanted = re.compile(r"__main__$|\.sample_data|\.before_")
    return sorted(name for name in names if not unwanted.search(name))


def main(argv: list[str] | None = None) -> int:
    """Builds the pages; returns Sphinx's exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.build", description=__doc__)
    folder = "The folder for the site. (default: docs/_build)"
    parser.add_argument("--output", default=str(HERE / "_build"), help=folder)
    flags = parser.parse_args(argv)
    html = pathlib.Path(flags.output, "html")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    with tempfile.TemporaryDirectory() as tree:
        assemble(pathlib.Path(tree))
        return subprocess.run([*command, tree, str(html)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
