"""Downloading files, unpacking archives, and writing files atomically."""

import contextlib
import errno
import gzip
import hashlib
import io
import itertools
import os
import pathlib
import socket
import stat
import subprocess
import sys
import tarfile
import time
import types
import urllib.request
import zipfile

import pytest

from tests import loopback
from tests.conftest import REPOSITORY
from tutorial_support import archives, files
from tutorial_support.programs import UsageError

BODY = bytes(range(256)) * 400


def remote(*urls, body=BODY):
    digest = hashlib.sha256(body).hexdigest()
    return files.RemoteFile("file.gz", len(body), digest, urls)


def only_file_in(folder):
    (path,) = folder.iterdir()
    return path


def test_download_lands_whole_and_is_not_repeated(tmp_path):
    requests = []

    def answer(handler):
        requests.append(handler.path)
        loopback.sends(BODY)(handler)

    with loopback.serve({"/f": answer}) as address:
        for _ in range(2):
            path = files.fetch(remote(address + "/f"), tmp_path / "new" / "folder")
    assert path.read_bytes() == BODY
    assert path == only_file_in(tmp_path / "new" / "folder")
    assert requests == ["/f"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o444


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (loopback.sends(BODY[:-5]), "fewer than the expected 102400 bytes"),
        (loopback.sends(BODY[:-5], announced=len(BODY)), "fewer than the expected"),
        (loopback.sends(BODY + b"x"), "more than the expected"),
        (loopback.sends(BODY[::-1]), "sha256 differs"),
        (loopback.sends(b"no", status=403), "Forbidden"),
        (loopback.sends(b"<html>please log in</html>"), "fewer than the expected"),
        (loopback.is_silent, "timed out"),
        (loopback.trickles(BODY, 0.05), "slower than"),
    ],
    ids=["short", "cut off", "long", "other bytes", "403", "html", "silent", "trickle"],
)
def test_bad_mirror_gives_a_reason_and_leaves_nothing(tmp_path, monkeypatch, answer, reason):
    timeout = 0.5 if answer is loopback.is_silent else 20
    monkeypatch.setattr(files, "CONNECT_TIMEOUT", timeout)
    monkeypatch.setattr(files, "PATIENCE", 0.3)
    with (
        loopback.serve({"/f": answer}) as address,
        pytest.raises(files.DownloadError, match=reason) as failure,
    ):
        files.fetch(remote(address + "/f"), tmp_path)
    assert address in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_proxy_is_a_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http:/proxy:3128")
    monkeypatch.setattr(urllib.request, "_opener", None)  # made once, with the proxies of then
    with pytest.raises(files.DownloadError, match="proxy URL"):
        files.fetch(remote("https://127.0.0.1:9/file.gz"), tmp_path)


def test_without_a_home_folder_nothing_is_kept_in_the_current_one(monkeypatch):
    monkeypatch.delenv(files.CACHE_VARIABLE)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for an unknown user
    assert files.cache_folder("mnist").is_absolute()


def test_second_mirror_is_tried(tmp_path):
    answers = {"/bad": loopback.sends(b"", status=503), "/good": loopback.sends(BODY)}
    with loopback.serve(answers) as address:
        path = files.fetch(remote(address + "/bad", address + "/good"), tmp_path)
    assert path.read_bytes() == BODY


def test_closed_port_is_a_download_error(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(files.DownloadError, match="refused"):
            files.fetch(remote(f"http://127.0.0.1:{port}/f"), tmp_path)


def test_damaged_cached_file_is_replaced(tmp_path):
    (tmp_path / "file.gz").write_bytes(b"half")
    with loopback.serve({"/f": loopback.sends(BODY)}) as address:
        assert files.fetch(remote(address + "/f"), tmp_path).read_bytes() == BODY


def test_failed_download_keeps_what_was_there(tmp_path):
    (tmp_path / "file.gz").write_bytes(b"mine")
    with (
        loopback.serve({"/f": loopback.sends(b"", status=404)}) as address,
        pytest.raises(files.DownloadError),
    ):
        files.fetch(remote(address + "/f"), tmp_path)
    assert only_file_in(tmp_path).read_bytes() == b"mine"


def test_a_cache_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        loopback.serve({"/f": loopback.sends(BODY)}) as address,
        pytest.raises(
            files.DownloadError, match="download cannot be written.*GRAPH_TUTORIALS_DATA"
        ),
    ):
        files.fetch(remote(address + "/f"), tmp_path / "file" / "below")


def tar_of(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for member, body in members:
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return path


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_unpacks_tar_and_zip_and_only_once(tmp_path):
    tar_of(tmp_path / "a.tar.gz", (member("wanted/x.bin"), b"abc"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("wanted/x.bin", b"abc")
    for name in ("a.tar.gz", "a.zip"):
        folder = archives.unpack(tmp_path / name, tmp_path / name.replace(".", "-"), "wanted")
        assert (folder / "x.bin").read_bytes() == b"abc"
        (folder / "x.bin").write_bytes(b"changed")
        assert archives.unpack(tmp_path / name, folder.parent, "wanted") == folder
        assert (folder / "x.bin").read_bytes() == b"changed"


def test_two_programs_unpack_the_same_archive_at_the_same_time(tmp_path, monkeypatch):
    tar_of(tmp_path / "a.tar.gz", (member("wanted/x.bin"), b"abc"))
    entries = archives._entries

    def while_another_is_faster(archive):
        yield from entries(archive)
        monkeypatch.setattr(archives, "_entries", entries)
        archives.unpack(archive, tmp_path, "wanted")

    monkeypatch.setattr(archives, "_entries", while_another_is_faster)
    folder = archives.unpack(tmp_path / "a.tar.gz", tmp_path, "wanted")
    assert [path.name for path in folder.iterdir()] == ["x.bin"]


@pytest.mark.parametrize(
    "bad",
    [
        member("../escaped"),
        member("wanted/../../escaped"),
        member("/tmp/escaped-absolute"),
        member("wanted/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("wanted/link", tarfile.LNKTYPE, "../../escaped"),
        member("wanted/fifo", tarfile.FIFOTYPE),
    ],
    ids=["..", "hidden ..", "absolute", "symlink", "hard link", "fifo"],
)
def test_tar_with_unsafe_member_is_refused(tmp_path, bad):
    archive = tar_of(tmp_path / "a.tar.gz", (member("wanted/x"), b"1"), (bad, b""))
    (tmp_path / "to").mkdir()
    with pytest.raises(UsageError, match=r"a\.tar\.gz.*would be written outside"):
        archives.unpack(archive, tmp_path / "to", "wanted")
    assert list((tmp_path / "to").iterdir()) == []
    assert not (tmp_path / "escaped").exists()
    assert not os.path.lexists("/tmp/escaped-absolute")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped-absolute"])
def test_zip_with_unsafe_member_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("wanted/x", b"1")
        packed.writestr(name, b"2")
    with pytest.raises(UsageError, match="would be written outside"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "to", "wanted")
    assert list((tmp_path / "to").iterdir()) == []
    assert not (tmp_path / "escaped").exists()


def test_archives_that_are_cut_off_or_foreign_are_named(tmp_path):
    whole = tar_of(tmp_path / "whole.tar.gz", (member("wanted/x"), os.urandom(100_000)))
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[:50_000])
    (tmp_path / "page.tar.gz").write_bytes(b"<html>not found</html>")
    (tmp_path / "noise.tar.gz").write_bytes(gzip.compress(b"no tar at all"))
    for name in ("cut.tar.gz", "page.tar.gz", "noise.tar.gz"):
        with pytest.raises(UsageError, match=f"{name}: cannot be read"):
            archives.unpack(tmp_path / name, tmp_path / "to", "wanted")
        assert list((tmp_path / "to").iterdir()) == []
    with pytest.raises(UsageError, match="contains no 'other'"):
        archives.unpack(whole, tmp_path / "to", "other")


def zip_of(path, *members, **options):
    with zipfile.ZipFile(path, "w", **options) as packed:
        for name, body in members:
            packed.writestr(name, body)
    return path


def encrypted(path):
    """A zip file whose entry is marked as encrypted."""
    content = bytearray(zip_of(path, ("wanted/x", b"1")).read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    path.write_bytes(content)


def of_unknown_method(path):
    content = bytearray(zip_of(path, ("wanted/x", b"1")).read_bytes())
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + place] = 99
    path.write_bytes(content)


def damaged(ending):
    def make(path):
        with tarfile.open(path, f"w:{ending}") as tar:
            info = member("wanted/x")
            info.size = 50_000
            tar.addfile(info, io.BytesIO(os.urandom(50_000)))
        content = bytearray(path.read_bytes())
        content[20_000:20_100] = bytes(100)
        path.write_bytes(content)

    return make


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (encrypted, "encrypted"),
        (of_unknown_method, "not supported"),
        (
            lambda path: zip_of(path, ("wanted/x", b"1"), ("wanted/x/y", b"2")),
            "File exists|Not a d",
        ),
        (lambda path: zip_of(path, ("wanted/x/y", b"1"), ("wanted/x", b"2")), "Is a directory"),
        (lambda path: zip_of(path, ("wanted/" + "n" * 300, b"1")), "name too long"),
        (lambda path: zip_of(path, ("wanted/" + "d/" * 1500 + "x", b"1")), "1502 deep"),
        (
            lambda path: tar_of(path, (member(""), b"1"), (member("other"), b"2")),
            "contains no 'wanted'",
        ),
        (damaged("xz"), "orrupt"),
        (damaged("bz2"), "nvalid data|opened"),
    ],
    ids=[
        "encrypted",
        "method",
        "file, folder",
        "folder, file",
        "long",
        "deep",
        "empty",
        "xz",
        "bz2",
    ],
)
def test_odd_archives_are_named_and_leave_nothing(tmp_path, make, said):
    make(tmp_path / "a.archive")
    with pytest.raises(UsageError, match=rf"a\.archive: .*({said})"):
        archives.unpack(tmp_path / "a.archive", tmp_path / "to", "wanted")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path, monkeypatch):
    def is_full(stream, sink):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", is_full)
    archive = tar_of(tmp_path / "a.tar.gz", (member("wanted/x"), b"1"))
    with pytest.raises(OSError, match="No space left"):
        archives.unpack(archive, tmp_path / "to", "wanted")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_small_text_is_read_and_a_large_one_refused(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffsea lion\n".encode() + b"\xff")
    assert files.read_text(path, "mend it") == "sea lion\n\udcff"
    path.write_bytes(bytes(1001))
    with pytest.raises(UsageError, match="names.txt: cannot be read .*more than 1000 bytes.*mend"):
        files.read_text(path, "mend it", most=1000)


def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    said = {"pipe": "it is a named pipe", ".": "it is a folder", "loop": "symbolic links"}
    for name, why in said.items():
        with (
            pytest.raises(UsageError, match=f"cannot be read .*{why}.*; name another"),
            files.reading(tmp_path / name, "name another"),
        ):
            raise AssertionError("it must not come to this")


def test_a_download_that_gets_faster_is_not_given_up(tmp_path, monkeypatch):
    """A slow start counts only in its own window."""
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    monkeypatch.setattr(files, "SLOWEST", 2000)

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:60_000])
        for start in range(60_000, len(BODY), 8_000):  # each window gets at least one of these
            time.sleep(0.1)
            handler.wfile.write(BODY[start : start + 8_000])

    with loopback.serve({"/f": answer}) as address:
        assert files.fetch(remote(address + "/f"), tmp_path).read_bytes() == BODY

    def slows_down(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:60_000])
        with contextlib.suppress(OSError):
            for start in range(60_000, len(BODY), 10):  # slow here, although fast on average
                time.sleep(0.05)
                handler.wfile.write(BODY[start : start + 10])

    with (
        loopback.serve({"/f": slows_down}) as address,
        pytest.raises(files.DownloadError, match="slower than"),
    ):
        files.fetch(remote(address + "/f"), tmp_path / "other")


def test_a_download_that_trickles_is_given_up_however_fast_it_began(monkeypatch):
    """With a fake clock: a megabyte at once, then a byte every half second."""
    now = itertools.count()
    monkeypatch.setattr(files, "time", types.SimpleNamespace(monotonic=lambda: next(now) / 2))
    sent = itertools.chain([bytes(1_000_000)], itertools.repeat(b"x", 10_000))
    response = types.SimpleNamespace(read1=lambda size: next(sent, b""))
    with pytest.raises(files.DownloadError, match="slower than"):
        for _ in files._chunks_in_time(response):
            pass
    assert next(now) / 2 < 3 * files.PATIENCE


def test_what_killed_programs_left_is_swept_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".cifar.{files._MACHINE}-{ended.pid}-0.partial"
    dead.mkdir()
    (dead / "half").write_bytes(b"1")
    dead_file = tmp_path / f".loss.png.{files._MACHINE}-{ended.pid}-1.partial"
    dead_file.write_bytes(b"1")
    mine = [
        tmp_path / f".loss.png.{files._MACHINE}-{os.getpid()}-0.partial",  # of a running process
        tmp_path / f".loss.png.elsewhere-{ended.pid}-0.partial",  # of another machine
        tmp_path / ".notes.partial",
    ]
    for path in mine:
        path.write_bytes(b"1")
    files.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(mine)


def test_sweeping_leaves_what_may_not_be_removed(tmp_path, monkeypatch):
    (tmp_path / f".x.{files._MACHINE}-{2**22 + 1}-0.partial").touch()  # above all process numbers

    def refuse(path, missing_ok=False):
        raise PermissionError

    monkeypatch.setattr(pathlib.Path, "unlink", refuse)
    files.sweep(tmp_path)


@pytest.mark.skipif(not os.path.exists("/proc/self/ns/pid"), reason="Linux only")  # noqa: PTH110
def test_containers_of_one_host_name_keep_their_files_apart():
    kept_apart = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*kept_apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("the system does not allow process namespaces")
    code = "from tutorial_support import files; print(files._MACHINE)"
    command = [*kept_apart, sys.executable, "-c", code]
    there = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    assert there.stdout.strip() != files._MACHINE


def test_whatever_goes_wrong_in_a_users_file_names_it(tmp_path):
    for error in (ValueError("odd"), RecursionError("deep"), MemoryError(), KeyError("x")):
        with (
            pytest.raises(UsageError, match="theirs.bin: .*replace it"),
            files.reading("theirs.bin", "replace it"),
        ):
            raise error
    with (
        pytest.raises(UsageError, match="there is no file 'theirs.bin'"),
        files.reading("theirs.bin", "replace it"),
    ):
        pathlib.Path("theirs.bin").read_bytes()


def test_files_are_on_the_disk_before_they_take_their_place(tmp_path, monkeypatch):
    order = []
    real = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: (order.append(str(pathlib.Path(f"/proc/self/fd/{fd}").readlink())), real(fd)),
    )
    monkeypatch.setattr(pathlib.Path, "replace", lambda self, target: order.append("replaced"))
    files.write_text(tmp_path / "x", "text")
    assert [pathlib.Path(name).name.startswith(".x") for name in order] == [True, False, False]
    assert order[1:] == ["replaced", str(tmp_path)]


def test_an_unpacked_archive_is_on_the_disk_before_it_appears(tmp_path, lost_in_a_power_cut):
    (tmp_path / "data" / "below").mkdir(parents=True)
    (tmp_path / "data" / "below" / "x").write_text("x")
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.add(tmp_path / "data", "data")
    archives.unpack(tmp_path / "data.tar", tmp_path / "cache", "data")
    assert not lost_in_a_power_cut(tmp_path / "cache")


def test_the_umask_decides_who_can_read_a_file(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_the_cache_is_where_the_variable_says(tmp_path, monkeypatch):
    assert files.cache_folder("mnist") == tmp_path / "cache" / "mnist"
    monkeypatch.delenv(files.CACHE_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_folder("mnist") == tmp_path / ".cache" / "graph-tutorials" / "mnist"
