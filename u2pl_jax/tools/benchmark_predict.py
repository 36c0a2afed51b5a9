"""Speed and memory of `predict`; see `benchmark`.

Of photographs, beside its network alone; or of one picture that is predicted in
windows, by the program in a process of its own.
"""

import argparse
import collections
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import cv2
import jax
import numpy as np
from PIL import Image

from u2pl_jax.evaluation import outputs
from u2pl_jax.evaluation import protocol as protocol_lib
from u2pl_jax.predict import (
  batch_plan,
  photographs,
  results,
  stream,
  trained,
)
from u2pl_jax.runtime import memory, sharding
from u2pl_jax.tools import (
  benchmark_pipeline,
  benchmark_worker,
  network_arguments,
)

_SPEEDS = ("images_per_second", "images_per_second_after_first")
_ROUNDS = 3  # Of which the median counts.
_POLL_SECONDS = 0.05
_COLORS = 40  # On a side of the generated picture, blended into each other.
_NOISE = 32  # Gray values.


def add_arguments(parser: argparse.ArgumentParser):
  """Adds what `run` takes."""
  network_arguments.add_arguments(parser)
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument(
    "--images", help="folder, file or pattern; at least 4 images"
  )
  what.add_argument(
    "--side",
    type=int,
    metavar="PIXELS",
    help="predicts one generated JPEG of that many pixels squared by"
    " --protocol=slide instead, in windows",
  )
  parser.add_argument(
    "--num_images", type=int, help="how many, spread evenly; default: all"
  )


def run(
  *,
  images: str | None,
  side: int | None = None,
  num_images: int | None = None,
  **source: str | None,
) -> dict[str, object]:
  """What was asked for: `measure_images`, or `measure_large` of a side."""
  if side is None:
    return measure_images(images, num_images, **source)
  return measure_large(side, **source)


def measure_large(side: int, **source: str | None) -> dict[str, object]:
  """Measures one picture that `predict` sees in windows.

  Args:
    side: height and width of the picture, in pixels.
    **source: of the network, see `network_arguments`.

  Returns:
    pixels and windows; seconds, of the program from start to end; told_gb, the
    memory in 1e9 bytes that it told in advance, and peak_gb, the most that it
    held.

  Raises:
    ValueError: the side is out of range, or the program fails; one line.
  """
  if not 1 <= side <= results.MAX_JPEG_SIDE:
    raise ValueError(f"--side={side}: must be in [1, {results.MAX_JPEG_SIDE}]")
  with tempfile.TemporaryDirectory() as folder:
    _generate(side).save(f"{folder}/picture.jpg", quality=90)
    flags = [f"--{k}={v}" for k, v in source.items() if v is not None]
    flags += [f"--images={folder}/picture.jpg", f"--out={folder}/out"]
    flags += ["--protocol=slide", f"--max_megapixels={side * side / 2e6}"]
    with tempfile.TemporaryFile("w+") as stdout:
      start, peak = time.perf_counter(), None
      command = [sys.executable, "-m", "u2pl_jax.tools.predict", *flags]
      with subprocess.Popen(command, stdout=stdout) as program:
        while program.poll() is None:
          peak = memory.peak_bytes(program.pid) or peak
          time.sleep(_POLL_SECONDS)
      seconds = time.perf_counter() - start
      stdout.seek(0)
      printed = stdout.read()
  told = re.search(r"in (\d+) windows, about ([\d.]+) GB", printed)
  if program.returncode or not told:
    raise ValueError("u2pl_jax.tools.predict has failed; it says why above")
  return {
    "pixels": side * side,
    "windows": int(told[1]),
    "seconds": seconds,
    "told_gb": float(told[2]),
    "peak_gb": None if peak is None else peak / 1e9,
  }


def _generate(side: int) -> Image.Image:
  """Colors blended into each other, with some noise; always the same."""
  draw = np.random.default_rng(0).integers
  colors = draw(0, 256, (_COLORS, _COLORS, 3), np.uint8)
  pixels = cv2.resize(colors, (side, side), interpolation=cv2.INTER_CUBIC)
  for row in pixels:
    row[:] = cv2.add(row, draw(0, _NOISE, row.shape, np.uint8))
  return Image.fromarray(pixels)


def measure_images(
  images: str, num_images: int | None = None, **source: str | None
) -> dict[str, object]:
  """Measures whole images at scale 1, as `predict` does them by default.

  `predict` and the network alone take turns, since machines change their speed;
  each `predict` is compared with the passes of the network around it. The
  network alone gets batches of pixels in memory, all of the commonest size
  and as many as `predict` takes of that size; its logits, at the images' size,
  stay on the device. Its speed is given for images of the mean area of all, so
  that both are of the same pixels.

  Args:
    images: where they are.
    num_images: how many of them; None for all.
    **source: of the network, see `network_arguments`.

  Returns:
    images, sizes and programs: how many there are; and median, min and max of
    predict: seconds, first_seconds (to the first result), images_per_second
    (compilation included) and images_per_second_after_first; of network:
    images_per_second; of ratio: both speeds of predict by that of the network;
    and rss_mib of each round, after the first image and after each quarter.

  Raises:
    OSError, ValueError: there is no such network, or are no such images.
  """
  found = _find_images(images, num_images)
  network = network_arguments.load(argparse.Namespace(**source))
  settings = batch_plan.Settings(protocol_lib.Protocol("whole", network.window))
  sized = [(image, batch_plan.check_size(image, settings)) for image in found]
  sizes = [size for _, size in sized]
  measure_network = _make_measure_network(network, sized, settings)
  alone, rounds, rss_mib = [measure_network()], [], []
  for _ in range(_ROUNDS):
    predicted, resident = _measure_predict(network, found, settings)
    alone.append(measure_network())
    around = statistics.mean(alone[-2:])
    rounds.append(
      {"predict": predicted}
      | {"ratio": {key: predicted[key] / around for key in _SPEEDS}}
    )
    rss_mib.append(resident)
  return {
    "images": len(found),
    "sizes": len(set(sizes)),
    "programs": len(set(batch_plan.choose_shapes(sizes).values())),
    "network": {"images_per_second": benchmark_pipeline.summarize(alone)},
    "rss_mib": rss_mib,
  } | {
    kind: {
      key: benchmark_pipeline.summarize([each[kind][key] for each in rounds])
      for key in rounds[0][kind]
    }
    for kind in ("predict", "ratio")
  }


def _find_images(
  where: str, num_images: int | None
) -> list[photographs.Photograph]:
  """See the arguments of `run`."""
  found = photographs.find(where)
  if num_images is not None:
    places = np.linspace(0, len(found) - 1, min(num_images, len(found)))
    found = [found[int(place)] for place in places]
  if len(found) < 4:
    raise ValueError(f"--images={where}: at least 4 images are needed")
  return found


def _measure_predict(
  network: trained.Trained,
  images: Sequence[photographs.Photograph],
  settings: batch_plan.Settings,
) -> tuple[dict[str, float], list[float | None]]:
  marks = [1] + [round(len(images) * part / 4) for part in range(1, 5)]
  rss_mib, seconds = [], []
  with tempfile.TemporaryDirectory() as out:
    start = time.perf_counter()
    done_images = stream.run(network, images, pathlib.Path(out), settings)
    for done, failure in enumerate(done_images, start=1):
      if failure is not None:
        raise failure
      seconds.append(time.perf_counter() - start)
      rss_mib += [benchmark_worker.resident_mib()] * marks.count(done)
  # Results come by the batch.
  first, last = seconds[0], seconds[-1]
  rest = sum(time > first + 1e-3 for time in seconds)
  return {
    "seconds": last,
    "first_seconds": first,
    "images_per_second": len(images) / last,
    "images_per_second_after_first": rest / (last - first),
  }, rss_mib


def _make_measure_network(
  network: trained.Trained,
  sized: Sequence[tuple[photographs.Photograph, tuple[int, int]]],
  settings: batch_plan.Settings,
) -> Callable[[], float]:
  """A function that measures a pass: images of mean area a second."""
  counts = collections.Counter(size for _, size in sized)
  size = counts.most_common(1)[0][0]
  of_size = [(image, own) for image, own in sized if own == size]
  mesh = sharding.create_mesh()
  plan = batch_plan.plan_batches(of_size, settings, mesh.size)[0]
  pixels = np.stack([photographs.read(image.path) for image in plan.images])
  pixels = np.resize(pixels, plan.shape)  # Repeats some to fill up.
  batch = sharding.to_global({"images": pixels}, mesh)["images"]
  variables = jax.device_put(network.variables, sharding.replicate(mesh))
  compute = outputs.make_predict(network.model, settings.protocol, ("logits",))

  def time_calls(count):
    start = time.perf_counter()
    for _ in range(count):
      jax.block_until_ready(compute(variables, batch))
    return time.perf_counter() - start

  time_calls(1)  # Compiles.
  calls = -(-len(sized) // len(pixels))
  mean_area = statistics.mean(height * width for _, (height, width) in sized)
  mean_images = calls * len(pixels) * size[0] * size[1] / mean_area
  return lambda: mean_images / time_calls(calls)
