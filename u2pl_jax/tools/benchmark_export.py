"""One image by exported programs, in turn with JAX's own; see `benchmark`.

This module is also the side of each, see `benchmark_worker`.
"""

import argparse
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np

from u2pl_jax.data import palettes
from u2pl_jax.models import network as network_lib
from u2pl_jax.predict import trained
from u2pl_jax.tools import benchmark_turns, export_onnx, export_program

_NUM_CLASSES = 21
# Files by the program that reads them. JAX itself has the weights alone.
_FILES = {
  "jax": "net.safetensors",
  "stablehlo": "net.stablehlo",
  "onnx": "net.onnx",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds what `run` takes."""
  add = parser.add_argument
  add("--encoder", required=True, help="see model.encoder")
  add("--decoder", required=True, help="see model.decoder")
  add(
    "--size",
    default="513,513",
    metavar="HEIGHT,WIDTH",
    help="pixels, default: %(default)s",
  )
  add("--rounds", type=int, default=5, help="blocks of each program")


def run(
  *, encoder: str, decoder: str, size: str, rounds: int
) -> dict[str, dict[str, Any]]:
  """Measures the three programs of a network with weights that are drawn.

  Args:
    encoder, decoder: of the network, which has 21 classes.
    size: "HEIGHT,WIDTH", pixels.
    rounds: blocks of each program.

  Returns:
    Of `jax`, `stablehlo` and `onnx`: `file_mb`, the size of the file in 1e6
    bytes; seconds of an image, `compile_seconds` and memory, see
    `benchmark_turns.measure`.

  Raises:
    ImportError: see `export_onnx.load`.
    ValueError: an argument is out of range; one line.
  """
  if rounds < 1:
    raise ValueError(f"--rounds={rounds}: must be positive")
  window = export_program.parse_size(size)
  if window == export_program.FREE:
    raise ValueError(f"--size={size}: must be HEIGHT,WIDTH")
  export_onnx.load_packages()
  network = _draw(encoder, decoder, window)
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    paths = {kind: folder / file for kind, file in _FILES.items()}
    trained.save_safetensors(network, paths["jax"])
    program = export_program.to_stablehlo(network, window)
    paths["stablehlo"].write_bytes(program.serialize())
    converted = export_onnx.convert(network, window)
    export_onnx.check(network, window, converted.content)
    paths["onnx"].write_bytes(converted.content)
    sides = {
      kind: benchmark_turns.Side(
        __name__, {"kind": kind, "path": str(path), "size": window}
      )
      for kind, path in paths.items()
    }
    results = benchmark_turns.measure(sides, rounds)
    return {
      kind: {"file_mb": path.stat().st_size / 1e6} | results[kind]
      for kind, path in paths.items()
    }


def _draw(encoder: str, decoder: str, window: tuple[int, int]) -> Any:
  sections = network_lib.sections(encoder, decoder)
  options = {"num_classes": _NUM_CLASSES, **sections}
  model = network_lib.create(options, _NUM_CLASSES)
  names, palette = palettes.guess_classes(_NUM_CLASSES)
  variables = jax.jit(model.init_variables)(jax.random.key(0))
  return trained.Trained(
    options=options,
    variables=jax.device_get(variables),
    class_names=names,
    palette=palette,
    window=window,
    origin="drawn weights",
  )


def make(settings: dict[str, Any]) -> "_Program":
  """See `benchmark_worker`.

  Args:
    settings: kind of the program; path of its file; size of the image.
  """
  return _Program(**settings)


class _Program:
  images = 1

  def __init__(self, kind: str, path: str, size: tuple[int, int]):
    shape = (self.images, *size, 3)
    self._images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    self._predict = {"jax": _jax, "stablehlo": _stablehlo, "onnx": _onnx}[kind](
      pathlib.Path(path)
    )

  def run(self, calls: int) -> None:
    for _ in range(calls):
      self._predict(self._images)

  def describe(self) -> dict[str, Any]:
    return {"shape": self._images.shape, "platform": jax.default_backend()}


def _jax(path):
  predict = jax.jit(export_program.make_predict(trained.load_file(path)))
  return lambda images: jax.block_until_ready(predict(images))


def _stablehlo(path):
  # As its user calls it: without `jit`, each call would trace it anew.
  predict = jax.jit(jax.export.deserialize(path.read_bytes()).call)
  return lambda images: jax.block_until_ready(predict(images))


def _onnx(path):
  onnxruntime = export_onnx.load("onnxruntime")
  session = onnxruntime.InferenceSession(
    str(path), providers=["CPUExecutionProvider"]
  )
  return lambda images: session.run(None, {"images": images})
