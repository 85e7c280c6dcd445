"""The list of programs, and the error messages for misspelt programs and flags."""

import ast
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tutorial_support import __version__, menu, programs


def test_every_program_is_listed_with_its_first_line(capsys):
    assert menu.main([]) == 0
    printed = capsys.readouterr().out
    sources = [
        path
        for package in menu.PACKAGES
        for path in (REPOSITORY / package).glob("[a-z]*.py")
        if '\nif __name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]
    assert len(sources) >= 25
    for path in sources:
        (line,) = [
            line
            for line in printed.splitlines()
            if line.split()[:1] == [f"{path.parent.name}.{path.stem}"]
        ]
        assert line.endswith(ast.get_docstring(ast.parse(path.read_text())).splitlines()[0])


def test_a_closed_output_is_one_sentence():
    command = [sys.executable, "-m", "tutorial_support"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, check=False
    )
    os.close(writing)
    assert done.returncode == 1 and done.stderr.startswith("error: the reader of the output has")


@pytest.mark.parametrize("package", list(menu.PACKAGES))
def test_a_package_lists_its_own_programs_without_tensorflow(package):
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module(sys.argv.pop(), run_name='__main__', alter_sys=True)\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, package]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "False"
    assert lines[0].startswith(f"{package}: ")
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert names == list(menu.programs_of(package))


@pytest.mark.parametrize(
    ("argv", "package", "told"),
    [
        (["cifar10_cnn.trian"], None, "did you mean cifar10_cnn.train?"),
        (["label_images"], "flowers_transfer", "did you mean flowers_transfer.label_image?"),
        (["qqq"], None, "there is no program 'qqq' (run graph-tutorials"),
    ],
)
def test_a_misspelt_program_is_told_the_nearest(argv, package, told, capsys):
    assert menu.main(argv, package) == 2
    assert told in capsys.readouterr().err


def test_a_program_is_run_by_its_name():
    command = [sys.executable, "-m", "mnist_mechanics", "fully_connected_feed", "--max_step", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 2
    assert done.stderr.endswith(
        "error: unrecognized arguments: --max_step 3; did you mean --max_steps? "
        "(--help lists the flags)\n"
    )


def test_every_parser_knows_its_version(capsys):
    with pytest.raises(SystemExit) as ended:
        programs.ArgumentParser("").parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"graph-tutorials {__version__}\n"
