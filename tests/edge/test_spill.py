"""Files of rows: whole, bounded, private, and taken by one process at a time."""

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from relay_edge import spill
from relay_edge.spill import Spill, SpillFullError, TakenFile
from tests.edge.running import ROOT

TABLE = "traffic_call"


class Files(Spill):
    """A process' files, which a test must not leave open."""

    made: ClassVar[list["Files"]] = []

    def __init__(self, folder: Path, process_index: int, max_bytes: int) -> None:
        super().__init__(folder, process_index, max_bytes)
        self.taken: list[TakenFile] = []
        self.made.append(self)

    def take(self) -> Iterator[TakenFile]:
        for one in super().take():
            self.taken.append(one)
            yield one


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    Files.made.clear()
    yield
    for files in Files.made:
        files.close()
        for one in files.taken:
            one.release()


def taken(files: Spill) -> list[TakenFile]:
    return list(files.take())


def all_rows(files: Spill) -> list[bytes]:
    """Reads and deletes everything that can be taken."""
    rows = []
    for one in files.take():
        rows += list(one.rows())
        one.delete()
        one.release()
    return rows


def test_rows_come_back_in_their_order(tmp_path: Path) -> None:
    files = Files(tmp_path / "a" / "b", 0, 1000)
    assert not files.look()
    files.append(TABLE, [b"1", b"2"])
    files.append(TABLE, [b"3"])
    assert files.look()
    assert (files.size_bytes, files.oldest_at is not None) == (6, True)
    assert all_rows(files) == [b"1", b"2", b"3"]
    assert not files.look()
    assert (files.size_bytes, files.oldest_at) == (0, None)


def test_files_are_private(tmp_path: Path) -> None:
    files = Files(tmp_path / "spill", 0, 1000)
    files.append(TABLE, [b"1"])
    files.refuse(TABLE, b"2")
    paths = list((tmp_path / "spill").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert len(paths) == 2
    assert stat.S_IMODE((tmp_path / "spill").stat().st_mode) == 0o700


def test_each_table_has_files_of_its_own(tmp_path: Path) -> None:
    files = Files(tmp_path, 0, 1000)
    files.append(TABLE, [b"1"])
    files.append("traffic_breakerevent", [b"2"])
    assert {one.table: list(one.rows()) for one in taken(files)} == {TABLE: [b"1"], "traffic_breakerevent": [b"2"]}


def test_holds_no_more_than_it_may_and_keeps_a_batch_whole(tmp_path: Path) -> None:
    files = Files(tmp_path, 0, 10)
    files.append(TABLE, [b"123", b"456"])
    with pytest.raises(SpillFullError):
        files.append(TABLE, [b"7", b"8"])
    assert all_rows(files) == [b"123", b"456"]
    files.look()
    files.append(TABLE, [b"123456789"])


def test_a_predecessor_s_files_count(tmp_path: Path) -> None:
    Files(tmp_path, 3, 10).append(TABLE, [b"12345678"])
    successor, other = Files(tmp_path, 3, 10), Files(tmp_path, 4, 10)
    assert (successor.look(), other.look()) == (True, True)
    assert (successor.size_bytes, other.size_bytes) == (9, 0)


def test_what_is_being_written_or_read_cannot_be_taken(tmp_path: Path) -> None:
    writer, reader = Files(tmp_path, 0, 1000), Files(tmp_path, 1, 1000)
    writer.append(TABLE, [b"1"])
    assert taken(reader) == []
    [held] = taken(writer)  # ends its own file first
    assert taken(reader) == []
    held.release()
    assert all_rows(reader) == [b"1"]
    writer.append(TABLE, [b"2"])
    assert all_rows(writer) == [b"2"]


def test_a_killed_process_s_file_is_taken_without_its_cut_line(tmp_path: Path) -> None:
    program = (
        "import os, pathlib; from relay_edge.spill import Spill\n"
        f"files = Spill(pathlib.Path({str(tmp_path)!r}), 0, 1000)\n"
        f"files.append({TABLE!r}, [b'1', b'2'])\n"
        "files._open['traffic_call'].file.write(b'3, cut')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == -9
    assert all_rows(Files(tmp_path, 1, 1000)) == [b"1", b"2"]


def test_a_failed_write_leaves_whole_lines(tmp_path: Path) -> None:
    """A disk that is full in the middle of a batch, here a limit on the size of files."""
    program = (
        "import pathlib, resource, signal; from relay_edge.spill import Spill\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"files = Spill(pathlib.Path({str(tmp_path)!r}), 0, 10_000)\n"
        f"files.append({TABLE!r}, [b'1' * 50])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n"
        f"    files.append({TABLE!r}, [b'2' * 30, b'3' * 30])\n"
        "except OSError:\n"
        f"    files.append({TABLE!r}, [b'4' * 30])\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert all_rows(Files(tmp_path, 0, 1000)) == [b"1" * 50, b"4" * 30]


def test_long_files_are_ended(tmp_path: Path) -> None:
    files = Files(tmp_path, 0, 10 * spill.MAX_FILE_BYTES)
    for _ in range(3):
        files.append(TABLE, [bytes(spill.MAX_FILE_BYTES - 1)])
    assert len(list(tmp_path.iterdir())) == 3


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in (
        "notes.txt",
        "traffic_call.0.jsonl",
        "a.b.c.d.jsonl",
        "traffic_call.0.zz.jsonl",
        "traffic_call.0.refused",
    ):
        (tmp_path / name).write_text("x")
    files = Files(tmp_path, 0, 1000)
    assert not files.look()
    assert taken(files) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Files(tmp_path / "file" / "below", 0, 1000).append(TABLE, [b"1"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
