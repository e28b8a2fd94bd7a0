from __future__ import annotations

import os
from pathlib import Path

import pytest

from mien.errors import DataError, InputError
from mien.recognition.listing import Job, list_images, plan, read_boxes, read_names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images and other things; it is also the current folder."""
    for name in ("photos/z.jpg", "photos/a/2.PNG", "photos/a/10.webp", "photos/notes.txt", "photos/.hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_read_in_the_order_of_names_and_only_when_asked(folder: Path) -> None:
    (folder / "photos" / "loop").symlink_to(folder / "photos")
    wanted = ["photos/z.jpg", "photos/a/10.webp", "photos/a/2.PNG"]
    assert list(list_images(["photos"], recursive=True)) == wanted
    assert list(list_images(["x.jpg", "photos"])) == ["x.jpg", "photos"]


def test_a_plan_names_each_image_once_and_shortens_by_the_common_folder(folder: Path) -> None:
    made = plan(["photos"], recursive=True)
    assert [job.file for job in made.jobs] == ["photos/z.jpg", "photos/a/10.webp", "photos/a/2.PNG"]
    assert made.root == "photos"
    assert plan(["photos/z.jpg", "photos"], recursive=True).root == "photos"
    assert plan(["photos/z.jpg", "photos/a/2.PNG"]).root == "photos"
    assert plan(["photos/z.jpg", "/photos/a.jpg"]).root is None
    with pytest.raises(InputError, match="nothing to recognise"):
        plan([])


def test_a_folder_that_cannot_be_read_stops_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("photos/a"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    (folder / "photos" / "b").mkdir()
    (folder / "photos" / "b" / "1.jpg").touch()
    monkeypatch.setattr("os.scandir", scandir)
    jobs = list(plan(["photos"], recursive=True).jobs)
    assert [(job.file, job.fault) for job in jobs] == [
        ("photos/z.jpg", ""),
        ("photos/a", "photos/a cannot be read: Permission denied; check the rights"),
        ("photos/b/1.jpg", ""),
    ]
    with pytest.raises(InputError, match="photos/a cannot be read: Permission denied; check the rights"):
        list(list_images(["photos"], recursive=True))


def test_folders_without_images_and_empty_paths_are_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"there is no image in empty; images end in \.jpg, "):
        list(plan(["empty"], recursive=True).jobs)
    with pytest.raises(InputError, match="one of the paths is empty, perhaps a variable without a value"):
        plan(["photos/z.jpg", ""])
    (folder / "l.csv").write_text("file\n")
    assert list(plan([], names="l.csv").jobs) == []  # a table says so itself


def test_boxes_are_the_images_where_no_others_are_named(folder: Path) -> None:
    (folder / "b.csv").write_text("file;label;x1;y1;x2;y2\nphotos/z.jpg;sad;1;2;3;4.5\nphotos/a/2.PNG;;;;;\n")
    assert list(plan([], boxes="b.csv").jobs) == [
        Job("photos/z.jpg", ((1, 2, 3, 4.5),)),
        Job("photos/a/2.PNG", ()),
    ]


def test_boxes_find_their_image_under_another_spelling_and_no_typo_passes(folder: Path) -> None:
    (folder / "b.csv").write_text("file,x1,y1,x2,y2\n./photos/a/../z.jpg,1,2,3,4\n")
    jobs = list(plan(["photos"], recursive=True, boxes="b.csv").jobs)
    assert [job.boxes for job in jobs] == [((1, 2, 3, 4),), (), ()]
    (folder / "b.csv").write_text("file,x1,y1,x2,y2\nphotos/y.jpg,1,2,3,4\n")
    with pytest.raises(DataError, match=r"1 files that are not among the images, such as photos/y\.jpg"):
        list(plan(["photos"], recursive=True, boxes="b.csv").jobs)


def test_relative_names_are_meant_from_here_or_from_beside_the_table(folder: Path) -> None:
    (folder / "photos" / "list.csv").write_bytes(b"\xef\xbb\xbffile\nz.jpg\r\nphotos/z.jpg\r\nnowhere.jpg\r\n")
    wanted = [str(Path("photos") / "z.jpg"), "photos/z.jpg", "nowhere.jpg"]
    assert list(read_names("photos/list.csv")) == wanted
    assert [job.file for job in plan([], names="photos/list.csv").jobs] == wanted[1:]  # each file once


def test_other_tables_are_other_settings(folder: Path) -> None:
    (folder / "l.csv").write_text("file\na.jpg\n")
    first = plan([], names="l.csv").settings
    assert plan([], names="l.csv").settings == first
    (folder / "l.csv").write_text("file\nb.jpg\n")
    assert plan([], names="l.csv").settings != first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the first line has to name"),
        ("file,x1,y1,x2\n", "lacks y2"),
        ("file,x1,y1,x2,y2,x1\n", "lacks x1"),
        ("file,x1,y1,x2,y2\na.jpg,1,2,3\n", "line 2: the row has 4 columns and the first line 5"),
        ("file,x1,y1,x2,y2\na.jpg,1,2,3,four\n", "line 2: 1, 2, 3, four are not four numbers"),
        ("file,x1,y1,x2,y2\na.jpg,1,2,3,9\na.jpg,5,2,3,9\n", "line 3: the box 5 2 3 9 has no area"),
        ("file,x1,y1,x2,y2\na.jpg,1,2,nan,9\n", "line 2: the box"),
        ("file,x1,y1,x2,y2\n,1,2,3,4\n", "line 2: the row names no file"),
        ("file,x1,y1,x2,y2\na\xff.jpg,1,2,3,4\n".encode("latin-1"), "UTF-8"),
        ("file,x1,y1,x2,y2\n" + "a" * 200_000 + ",1,2,3,4\n", "no CSV"),
        (None, "give the path of a CSV"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(text: str | bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError) as caught:
        read_boxes(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_name_that_no_file_can_have_is_no_crash(folder: Path) -> None:
    (folder / "b.csv").write_text("file\n" + "n" * 3000 + "\n")
    assert list(read_names("b.csv")) == ["n" * 3000]
    assert list(list_images(["n" * 3000], recursive=True)) == ["n" * 3000]
