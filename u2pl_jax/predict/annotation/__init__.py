"""Masks as annotation tools import them, to be corrected there.

Every module but `labels` writes for one tool, by a function

  write(items, labels, folder) -> list[pathlib.Path]

of a sequence of `labels.Item`, the images with their masks, of the
`labels.Label`s of all values in the masks, and of the folder to write to. It
returns the files and folders that it wrote, and raises OSError where one cannot
be written or an image or mask not be read.

`data_prep.folder --add_to=NAME` reads what the tools export afterwards.
"""
