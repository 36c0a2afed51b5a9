"""Labels the images that have no masks, and says which are worth correcting.

  python -m u2pl_jax.tools.autolabel --workdir=DIR --images=FOLDER --out=OUT
  python -m u2pl_jax.tools.autolabel --workdir=DIR --images=FOLDER --out=OUT \\
    --for=cvat --top=30

Unlabeled are the images in FOLDER of which the dataset of the run has no mask.
This command writes of each

  OUT/masks/PATH.png     class ids, and 255 where the network is not sure
  OUT/overlays/PATH.jpg  their colors over the photograph, paler where unsure
  OUT/colors/, OUT/entropy/  as u2pl_jax.tools.predict writes them

and of all of them

  OUT/ranking.csv   the images in the order in which to label them, with mean
                    entropy in nats, share of unreliable pixels, classes found,
                    and how unlike they are to what is labeled or comes before
  OUT/ranking.html  the first ranks as pictures
  OUT/first/        images and masks of the first ranks (--top), to be
                    corrected: images/, masks/, classes.json; with --for=cvat
                    cvat.zip and cvat_labels.json, with --for=labelstudio
                    label_studio.json and label_studio.xml as well

A pixel is sure if its entropy is below the median of the thresholds under which
the run kept pseudo-labels, or else, with --min_confidence, if its class is that
probable. Next in the order is always the image with the largest product of mean
entropy and distance to the nearest image that is labeled or ranked before, by
pooled features of the encoder, which is a greedy k-center weighted by entropy;
u2pl_jax/predict/ranking.py has the formula and its sources.

Corrected masks come back with

  python -m data_prep.folder --root=OUT/first --add_to=NAME --name=NEW \\
    --data_dir=DATA

The same command again goes on where the one before was stopped.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from etils import epath

from u2pl_jax.data import image_files
from u2pl_jax.predict import (
  photographs,
  ranking,
  record,
  reliability,
  results,
  trained,
)
from u2pl_jax.predict.annotation import labels
from u2pl_jax.runtime import command_line, quiet, workdir
from u2pl_jax.tools import autolabel_files, network_arguments, predicting

_MAPS = ("entropy",)


def main(argv: Sequence[str] | None = None) -> int:
  """Labels what the command line names; 0, or 1 if a file was not read.

  Args:
    argv: the command line without the program; default: that of the process.

  Raises:
    SystemExit: one line that names the flag or file at fault.
  """
  arguments = _make_parser().parse_args(argv)
  quiet.silence_tensorflow()
  return predicting.run_command(_label, arguments)


def _label(
  arguments: argparse.Namespace, tally: predicting.Tally
) -> list[image_files.UnreadableError]:
  """Does all; returns why some images were not read."""
  # TensorFlow's notes are to be silenced before it is loaded.
  from u2pl_jax.report import runs
  from u2pl_jax.tools import autolabel_images

  out = pathlib.Path(arguments.out)
  _check(arguments, out)
  network = trained.load_run(
    arguments.workdir,
    network_arguments.choose_checkpoint(arguments),
    arguments.state,
  )
  labels_of_tool = labels.make(network.class_names, network.palette)
  rule = _choose_rule(arguments)
  settings = predicting.make_settings(arguments, network.window, _MAPS, rule)
  dataset = runs.open_dataset(
    workdir.read_config(epath.Path(arguments.workdir)),
    network,
    arguments.data_dir,
  )
  kinds = (*results.KINDS, *results.MAPS, autolabel_files.FIRST)
  ids = autolabel_images.choose_unlabeled(
    photographs.find(arguments.images, without=[out / k for k in kinds]),
    dataset,
    arguments.images,
    settings.value_range,
  )
  failures = predicting.run(
    network, list(ids), out, settings, tally, overwrite=arguments.overwrite
  )
  done = record.find_done(out, ids, _MAPS)
  ranked = autolabel_files.rank(
    network,
    [image for image in ids if image in done],
    out,
    autolabel_images.embed_labeled(network, dataset),
    kind=arguments.rank_by,
    value_range=settings.value_range,
  )
  first = ranked[: arguments.top]
  autolabel_files.write_ranking(out, ranked, network.class_names)
  autolabel_files.write_first(
    out, first, ids, labels_of_tool, getattr(arguments, "for")
  )
  autolabel_files.write_page(
    out, ranked, first, network, rule, settings.value_range
  )
  print(
    f"{len(ranked)} of {len(ids)} images are labeled; begin with the first"
    f" {len(first)}: {out / autolabel_files.FIRST}, {out / 'ranking.html'}"
  )
  return failures


def _check(arguments: argparse.Namespace, out: pathlib.Path) -> None:
  """Raises ValueError or OSError if something is wrong with flags or places."""
  predicting.make_settings(arguments, (1, 1))
  if arguments.top < 1:
    raise ValueError(f"--top={arguments.top}: must be >= 1")
  confidence = arguments.min_confidence
  if confidence is not None and not 0 <= confidence <= 1:
    raise ValueError(f"--min_confidence={confidence}: must be in [0, 1]")
  images = os.path.expanduser(arguments.images)
  if os.path.realpath(images) == os.path.realpath(out):
    raise ValueError(
      f"--out={out}: is the folder of the images; name another one"
    )
  first = out / autolabel_files.FIRST
  if first.exists() and not arguments.overwrite:
    raise FileExistsError(
      f"{first}: is there already, perhaps with masks that were corrected; move"
      " it, pass --overwrite to replace it, or another --out"
    )


def _choose_rule(arguments: argparse.Namespace) -> reliability.Rule:
  """Which pixels are reliable: by the flag, or as the run had it.

  Its thresholds rise until at its end they keep nearly all pixels, and jump
  from batch to batch; hence their median.

  Raises:
    ValueError: it had no rule; one line.
  """
  from u2pl_jax.report import curves, thresholds

  if arguments.min_confidence is not None:
    return reliability.Rule(min_confidence=arguments.min_confidence)
  logged = curves.read_curves(epath.Path(arguments.workdir))
  if thresholds.TAG not in logged:
    raise ValueError(
      f"{arguments.workdir}: the run has no teacher that keeps labels below an"
      f" entropy (it logged no {thresholds.TAG}); pass --min_confidence=0.9, or"
      " another number in [0, 1]"
    )
  return reliability.Rule(float(np.median(logged[thresholds.TAG].values)))


def _make_parser() -> argparse.ArgumentParser:
  parser = command_line.make_parser("u2pl_jax.tools.autolabel", __doc__)
  parser.add_argument(
    "--workdir", required=True, metavar="DIR", help="folder of a run"
  )
  network_arguments.add_choice(parser)
  parser.add_argument(
    "--images",
    required=True,
    metavar="FOLDER",
    help="the images, labeled ones among them or not; also a file, or a"
    " pattern in quotes",
  )
  parser.add_argument(
    "--out", required=True, metavar="OUT", help="where the results go"
  )
  parser.add_argument(
    "--for",
    choices=tuple(autolabel_files.TOOLS),
    default="masks",
    help="what corrects the masks: an editor of PNG files (masks, the default),"
    " CVAT or Label Studio",
  )
  parser.add_argument(
    "--min_confidence",
    type=float,
    metavar="NUMBER",
    help="pixels whose class is less probable are 255; default: by the median"
    " of the entropies under which the run kept pseudo-labels",
  )
  parser.add_argument(
    "--top",
    type=int,
    default=50,
    metavar="NUMBER",
    help="how many of the first ranks are to be corrected; default: 50",
  )
  parser.add_argument(
    "--rank_by",
    choices=tuple(ranking.KINDS),
    default="entropy_diversity",
    help="what an image comes early for: being unsure and unlike the others"
    " (default), or one of both",
  )
  network_arguments.add_data_dir(parser)
  parser.add_argument(
    "--overwrite",
    action="store_true",
    help="label all images anew, and replace what is in OUT",
  )
  predicting.add_arguments(parser)
  return parser


if __name__ == "__main__":
  sys.exit(main())
