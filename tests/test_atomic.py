"""A file is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from energydiag.atomic import whole_file, write_text, write_with
from energydiag.errors import UsageError


class Interrupted(BaseException):
    """Stands for Ctrl-C and the like, which are no `Exception`."""


@pytest.mark.parametrize("kind", [ValueError, Interrupted])
def test_an_error_inside_leaves_the_old_content_and_nothing_else(tmp_path: Path, kind: type[BaseException]) -> None:
    def half(path: Path) -> None:
        path.write_text("half")
        raise kind

    target = tmp_path / "result.json"
    write_text(target, "old")
    with pytest.raises(kind):
        write_with(target, half)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_temporary_file_stands_beside_the_target_with_its_suffix(tmp_path: Path) -> None:
    with whole_file(tmp_path / "figure.png") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".png")
        assert not (tmp_path / "figure.png").exists()


def test_writes_over_what_was_there_and_makes_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "result.txt"
    for text in ("first", "zweitens: ∇E"):
        write_with(target, lambda path, text=text: path.write_text(text, encoding="utf-8"))
    assert target.read_text(encoding="utf-8") == "zweitens: ∇E"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_others_may_read_it_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "whole", "text")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """Not even by root: permissions alone would not stop it."""
    target = Path("/proc/self/result.txt")
    if not target.parent.is_dir():
        tmp_path.chmod(0o500)
        target = tmp_path / "result.txt"
    try:
        with pytest.raises(UsageError, match="cannot be written"):
            write_text(target, "text")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["file/result.txt", "folder", "x" * 300])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be written") as caught:
        write_text(tmp_path / name, "text")
    assert caught.value.next_step
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
