"""From the folders of one or two runs to the files of a report."""

from collections.abc import Sequence

from etils import epath

from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.report import examples, files, page, runs, sheet, thresholds


def write_report(
  folders: Sequence[epath.PathLike],
  *,
  checkpoint: str,
  state: str | None,
  out: epath.PathLike,
  picture: epath.PathLike | None,
  protocol: str,
  data_dir: str | None,
  max_images: int,
) -> None:
  """Writes the page and, where it is asked for, the picture.

  Args:
    folders: the run, and perhaps a second one to compare it with.
    checkpoint: "best" or "last".
    state: "teacher" or "student"; None for what training evaluated.
    out: the HTML file.
    picture: a PNG file of a few images; None for none.
    protocol: one of `protocol.KINDS`.
    data_dir: where the dataset is; None for where it was in training.
    max_images: the page shows so many of the worst images.

  Raises:
    OSError, ValueError: one line that names the flag or file at fault.
  """
  if max_images < 0:
    raise ValueError(f"--max_images={max_images}: must be >= 0")
  if picture and not max_images:
    raise ValueError("--picture shows images, but --max_images=0")
  loaded = [runs.load_run(folder, checkpoint, state) for folder in folders]
  compared = loaded if len(loaded) == 1 else runs.tell_apart(*loaded)
  files.check_folders(out, picture)
  found, why_none = None, ""
  try:
    found = _evaluate(compared, protocol, data_dir, max_images)
  except FileNotFoundError as error:  # Of the dataset.
    why_none = str(error)
    print(f"no images: {why_none}")
  files.write(out, page.render(compared, found, why_none))
  if picture:
    if found is None:
      raise FileNotFoundError(f"--picture={picture}: {why_none}")
    files.write(picture, _draw_picture(compared[0], found))


def _evaluate(
  compared: Sequence[runs.Run],
  protocol: str,
  data_dir: str | None,
  max_images: int,
) -> examples.Examples:
  """What the networks of the runs make of the validation images.

  Raises:
    FileNotFoundError: the dataset is not there.
    ValueError: the dataset has other classes.
  """
  config, network = compared[0].config, compared[0].network
  return examples.evaluate(
    [run.network for run in compared],
    runs.open_dataset(config, network, data_dir),
    protocol_lib.Protocol(protocol, network.window),
    batch_size=config["eval"]["batch_size"],
    max_images=max_images,
  )


def _draw_picture(run: runs.Run, found: examples.Examples) -> bytes:
  return sheet.draw_sheet(
    sheet.choose_rows(found.worst),
    run.network.class_names,
    run.network.palette,
    thresholds.choose_threshold(run, found.entropies[0]).value,
  )
