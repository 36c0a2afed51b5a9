"""Folders, tars and zips read alike, and refuse what is unsafe or broken."""

import io
import os
import tarfile
import zipfile

import pytest

from data_prep import archives

CONTENTS = {
  "a b/caf\u00e9.txt": b"one",
  "a b/deep/er.txt": b"2" * 700,
  "top.txt": b"",
}


def make_folder(path, contents=CONTENTS):
  for name, content in contents.items():
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(content)
  return path


def make_tar(path, contents=CONTENTS, mode="w"):
  with tarfile.open(path, mode) as tar:
    for name, content in contents.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))
  return path


def make_zip(path, contents=CONTENTS, method=zipfile.ZIP_DEFLATED):
  with zipfile.ZipFile(path, "w", method) as archive:
    for name, content in contents.items():
      archive.writestr(name, content)
  return path


MAKERS = {"folder": make_folder, "tar": make_tar, "zip": make_zip}


def test_all_kinds_read_alike(tmp_path):
  for kind, make in MAKERS.items():
    files = archives.open_files(make(tmp_path / kind))
    assert list(files) == sorted(CONTENTS)
    assert {name: file.read() for name, file in files.items()} == CONTENTS
    assert files["top.txt"].name == str(tmp_path / kind / "top.txt")


def test_folders_of_an_archive_and_clutter_are_left_out(tmp_path):
  contents = {
    "./voc/x.png": b"x",
    "__MACOSX/voc/._x.png": b"y",
    "voc/.DS_Store": b"z",
    ".git/config": b"g",
  }
  folder = make_folder(tmp_path / "folder", contents)
  assert list(archives.open_files(folder)) == ["voc/x.png"]
  with tarfile.open(tmp_path / "made.tar", "w") as tar:
    tar.add(folder, arcname=".")
  assert list(archives.open_files(tmp_path / "made.tar")) == ["voc/x.png"]
  with zipfile.ZipFile(make_zip(tmp_path / "z", contents), "a") as archive:
    archive.mkdir("voc")
  assert list(archives.open_files(tmp_path / "z")) == ["voc/x.png"]


def test_links_in_a_folder_are_followed_but_not_in_circles(tmp_path):
  folder = make_folder(tmp_path / "folder", {"sub/x.txt": b"x"})
  elsewhere = make_folder(tmp_path / "elsewhere", {"y.txt": b"y"})
  (folder / "sub" / "back").symlink_to(folder)
  (folder / "linked").symlink_to(elsewhere)
  (folder / "gone.txt").symlink_to(tmp_path / "nowhere")
  files = archives.open_files(folder)
  assert list(files) == ["gone.txt", "linked/y.txt", "sub/x.txt"]
  assert files["linked/y.txt"].read() == b"y"
  with pytest.raises(OSError):
    files["gone.txt"].read()


UNSAFE = ["../x", "/etc/x", "a/../../x", "C:/x", "..\\x", "\\x", ".."]


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_entries_that_point_outside_are_all_named(tmp_path, make):
  contents = {"good": b"", **{name: b"x" for name in UNSAFE}}
  with pytest.raises(ValueError) as error:
    archives.open_files(make(tmp_path / "archive", contents))
  lines = str(error.value).splitlines()
  assert lines[0] == f"{len(UNSAFE)} problems:"
  for name, line in zip(UNSAFE, lines[1:]):
    shown = name.replace("\\", "/") if make is make_zip else name
    assert f"entry {shown!r} points outside" in line
  assert not (tmp_path.parent / "x").exists()


@pytest.mark.parametrize(
  "kind, message",
  [
    (tarfile.SYMTYPE, "is a link to '/etc/passwd'"),
    (tarfile.LNKTYPE, "is a link to '/etc/passwd'"),
    (tarfile.FIFOTYPE, "is not a plain file"),
    (tarfile.CHRTYPE, "is not a plain file"),
  ],
)
def test_tar_entries_that_are_no_files_are_refused(tmp_path, kind, message):
  member = tarfile.TarInfo("masks/odd.png")
  member.type, member.linkname = kind, "/etc/passwd"
  with tarfile.open(tmp_path / "x.tar", "w") as tar:
    tar.addfile(member)
  with pytest.raises(ValueError, match=f"'masks/odd.png' {message}"):
    archives.open_files(tmp_path / "x.tar")


def test_link_in_a_zip_is_refused(tmp_path):
  info = zipfile.ZipInfo("link.png")
  info.external_attr = 0o120777 << 16
  with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
    archive.writestr(info, "/etc/passwd")
  with pytest.raises(ValueError, match="'link.png' is a link"):
    archives.open_files(tmp_path / "x.zip")


def test_encrypted_zip_is_refused(tmp_path):
  path = make_zip(tmp_path / "x.zip", {"secret.png": b"x"})
  content = bytearray(path.read_bytes())
  content[content.index(b"PK\x01\x02") + 8] |= 1  # Flags of the entry.
  path.write_bytes(content)
  with pytest.raises(ValueError, match="'secret.png' is encrypted"):
    archives.open_files(path)


def test_entry_that_occurs_twice_is_refused(tmp_path):
  make_tar(tmp_path / "x.tar", {"x": b"1", "./x": b"2"})
  with pytest.raises(ValueError, match="entry './x' occurs twice"):
    archives.open_files(tmp_path / "x.tar")


def test_truncated_tar_is_refused_wherever_it_is_cut(tmp_path):
  whole = make_tar(tmp_path / "x.tar", {"a": b"1" * 600, "b": b"2"})
  content = whole.read_bytes()
  # A header and 2 blocks, a header and 1 block, then the end.
  assert content[5 * 512 :].strip(b"\0") == b"" != content[4 * 512 : 5 * 512]
  path = tmp_path / "cut.tar"
  for size in (100, 512, 700, 1536, 1600, 2048, 2049, 2560, 3000):
    path.write_bytes(content[:size])
    with pytest.raises(ValueError, match="cut.tar: (not a whole|truncated)"):
      archives.open_files(path)
  path.write_bytes(content[: 6 * 512])
  assert list(archives.open_files(path)) == ["a", "b"]


def test_tar_with_a_damaged_header_is_refused(tmp_path):
  path = make_tar(tmp_path / "x.tar", {"a": b"1", "b": b"2", "c": b"3"})
  content = bytearray(path.read_bytes())
  content[1024 + 148] ^= 1  # The checksum of the second header.
  path.write_bytes(content)
  with pytest.raises(ValueError, match="truncated or damaged after 1024"):
    archives.open_files(path)


def test_tar_that_shrinks_after_indexing_is_noticed(tmp_path):
  path = make_tar(tmp_path / "x.tar", {"a": b"1" * 600})
  files = archives.open_files(path)
  os.truncate(path, 1000)
  with pytest.raises(OSError, match="x.tar ends within it"):
    files["a"].read()


def test_truncated_zip_is_refused(tmp_path):
  path = make_zip(tmp_path / "x.zip")
  path.write_bytes(path.read_bytes()[:-30])
  with pytest.raises(ValueError, match="x.zip: not a whole zip file"):
    archives.open_files(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_zip_entry_is_an_os_error_when_read(tmp_path, method):
  path = make_zip(tmp_path / "x.zip", {"a": bytes(range(200)) * 9}, method)
  content = bytearray(path.read_bytes())
  content[80] ^= 255
  path.write_bytes(content)
  files = archives.open_files(path)
  with pytest.raises(OSError, match="damaged in the archive"):
    files["a"].read()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_compressed_tar_is_refused_with_advice(tmp_path, kind):
  path = make_tar(tmp_path / "x", mode=f"w:{kind}")
  with pytest.raises(ValueError, match="compressed as a whole.*unpack it"):
    archives.open_files(path)


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100])
def test_other_files_are_refused(tmp_path, content):
  (tmp_path / "x").write_bytes(content)
  with pytest.raises(ValueError, match="not a whole tar or zip file"):
    archives.open_files(tmp_path / "x")


def test_nothing_there_is_said(tmp_path):
  with pytest.raises(FileNotFoundError, match="no such file or folder"):
    archives.open_files(tmp_path / "x")
