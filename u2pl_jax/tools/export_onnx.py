"""A network's program as ONNX, by jax2onnx, compared with JAX's own results."""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import logging
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from u2pl_jax.models import forward
from u2pl_jax.predict import trained
from u2pl_jax.runtime import flat_program
from u2pl_jax.tools import export_program

OPSET = 23  # Version of ONNX's operations.
TOLERANCE = 1e-4  # Of probabilities, between JAX and ONNX Runtime.
_PACKAGES = ("jax2onnx", "onnxruntime")
_ELSE = "use --format=stablehlo"
_LARGEST = 2**31 - 1  # Bytes of a file, as protobuf limits its messages.
_CHECKED = 2  # Images, of noise, that both programs see.
_RUNTIME_ERRORS = 3  # The level of its log that tells nothing else.


def _max_pool(x, *, window_dimensions, window_strides, padding, **_):
  """Pooling of maps as jax2onnx writes it for two axes, and without padding.

  Of what it writes for all four, ONNX Runtime computes nothing. Copies of the
  edge are padding too: windows that reach over it have its pixels already.
  """
  for axis in (1, 2):
    before, after = padding[axis]
    size = x.shape[axis]
    first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(x, size - 1, size, axis=axis)
    x = jax.lax.concatenate([first] * before + [x] + [last] * after, axis)
  return nn.max_pool(
    x, window_shape=window_dimensions[1:3], strides=window_strides[1:3]
  )


def _dot_general(x, y, *, dimension_numbers, **_):
  """A product with a matrix, else written as the slower Einsum."""
  last = x.ndim - 1
  if y.ndim != 2 or dimension_numbers != (((last,), (0,)), ((), ())):
    return NotImplemented
  return jnp.matmul(x, y)


_REPLACE = {"reduce_window_max": _max_pool, "dot_general": _dot_general}


class Converted(NamedTuple):
  """A file of ONNX, and what its user has to know, as JSON values."""

  content: bytes
  about: dict[str, Any]


def load_packages() -> tuple[Any, ...]:
  """jax2onnx and onnxruntime; see `load`."""
  return tuple(map(load, _PACKAGES))


def load(package: str) -> Any:
  """One of the packages, by its name.

  Raises:
    ImportError: it cannot be imported; one line that names the extra.
  """
  try:
    with _quiet():
      return importlib.import_module(package)
  except ImportError as error:
    raise ImportError(
      f"--format=onnx: {package} cannot be imported ({error}); pip install"
      f' "u2pl_jax[onnx]", or {_ELSE}'
    ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without warnings, such as of parts of jax2onnx that JAX is too new for."""
  loggers = [logging.getLogger(name) for name in ("jax2onnx", "onnx_ir")]
  levels = [logger.level for logger in loggers]
  try:
    for logger in loggers:
      logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      yield
  finally:
    for logger, level in zip(loggers, levels, strict=True):
      logger.setLevel(level)


def convert(network: trained.Trained, size: tuple[int, int]) -> Converted:
  """The program of `export_program.make_predict` as ONNX.

  Its input is `images`, its outputs are `mask` and `confidence`; the number of
  images is free. It computes in float32, whatever `model.dtype` says.

  Args:
    network: its weights become constants of the program.
    size: (height, width) of the images, pixels.

  Raises:
    ImportError: see `load`.
    ValueError: its weights exceed what a file can hold, or jax2onnx cannot
      convert it; one line.
  """
  _check_fits(network)
  network = _in_float32(network)
  images = export_program.make_images(network, size)
  predict = export_program.make_predict(network)
  results = jax.eval_shape(predict, images)
  about = export_program.describe(network, images, results)
  content = to_onnx(predict, images)
  versions = {name: _version(name) for name in _PACKAGES}
  about["versions"] = {"jax": jax.__version__, "opset": OPSET} | versions
  return Converted(content, about)


def _check_fits(network: trained.Trained) -> None:
  """Raises ValueError, one line, for more weights than a file can hold."""
  leaves = jax.tree.leaves(network.variables)
  total = sum(leaf.size for leaf in leaves) * jnp.dtype("float32").itemsize
  if total > _LARGEST:
    raise ValueError(
      f"--format=onnx: the weights take {total / 1e9:.1f} GB in float32, and a"
      f" file of ONNX holds {_LARGEST / 1e9:.1f} GB at most; {_ELSE}"
    )


def _version(package: str) -> str:
  return importlib.metadata.version(package)


def to_onnx(function: Any, images: jax.ShapeDtypeStruct) -> bytes:
  """A function of images, which returns a dict of arrays, as ONNX.

  Raises:
    ImportError: see `load`.
    ValueError: jax2onnx cannot convert it; one line.
  """
  jax2onnx = load("jax2onnx")
  names = sorted(jax.eval_shape(function, images))  # As JAX orders them.
  flat = flat_program.flatten(function, images, replace=_REPLACE)
  try:
    with _quiet():
      model = jax2onnx.to_onnx(
        flat,
        [images],
        model_name="u2pl_jax",
        opset=OPSET,
        input_names=["images"],
        output_names=names,
      )
    return model.SerializeToString()
  # Whatever it stumbles over, it is not converted.
  except Exception as error:
    said = " ".join(f"{type(error).__name__}: {error}".split())
    raise ValueError(
      f"--format=onnx: jax2onnx {_version('jax2onnx')} cannot convert this"
      f" network ({said}); {_ELSE}"
    ) from error


def check(
  network: trained.Trained, size: tuple[int, int], content: bytes
) -> float:
  """Compares ONNX Runtime's results with JAX's, on images of noise.

  Args:
    network: what was converted.
    size: of the images.
    content: what `convert` made of it.

  Returns:
    The largest difference of probabilities: of the class that JAX holds for
    the most probable one, and between JAX's ones of this class and of the class
    in `mask`.

  Raises:
    ValueError: it is above `TOLERANCE`, or ONNX Runtime cannot run the file;
      one line.
  """
  onnxruntime = load("onnxruntime")
  network = _in_float32(network)
  shape = (_CHECKED, *size, 3)
  images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  options = onnxruntime.SessionOptions()
  options.log_severity_level = _RUNTIME_ERRORS
  try:
    session = onnxruntime.InferenceSession(
      content, options, providers=["CPUExecutionProvider"]
    )
    mask, confidence = session.run(["mask", "confidence"], {"images": images})
  # Its errors have no class of their own in common.
  except Exception as error:
    said = " ".join(str(error).split())
    raise ValueError(
      f"--format=onnx: ONNX Runtime {_version('onnxruntime')} cannot run the"
      f" converted network ({said}); {_ELSE}"
    ) from error
  probs = np.asarray(jax.jit(_make_probs(network))(images))
  best = probs.max(-1)
  chosen = np.take_along_axis(probs, mask[..., None].astype(int), -1)[..., 0]
  difference = max(np.abs(confidence - best).max(), (best - chosen).max())
  if not difference <= TOLERANCE:
    raise ValueError(
      "--format=onnx: ONNX Runtime's probabilities differ from JAX's by"
      f" {difference:.1g}, more than {TOLERANCE:g}; {_ELSE}"
    )
  return float(difference)


def _make_probs(network: trained.Trained) -> Any:
  net = forward.make_net(network.model, network.variables)
  normalized = network.model.normalize
  return lambda images: jax.nn.softmax(net(normalized(images)))


def _in_float32(network: trained.Trained) -> trained.Trained:
  """The network, computing in float32; ONNX Runtime has no bfloat16 on CPUs."""
  model = dict(network.options["model"]) | {"dtype": jnp.dtype("float32").name}
  options = dict(network.options) | {"model": model}
  return dataclasses.replace(network, options=options)
