"""The contract of a method: what it teaches the student in each step.

A module of `u2pl_jax.methods` is a method if it has these:

  NAMES               what `config.method` may be to mean it.
  TITLE               its name in words, for people.
  OPTIONS             options classes, each a section of the config.
  USES_REPRESENTATION whether it reads the representation head, if there is one.
  recipes(published)  {"paper": {key: value}, ...}, presets over config keys.
  create(parts, *options)  -> tuple[Phase, ...], given its options in order.

As an optax transformation is a few pure functions over a state of its own, a
method is a few pure functions over its *memory*: teacher, banks, whatever it
keeps. `training.train_step` calls them in this order, once for all methods:

  init    where there is no memory yet, as a phase begins   (host)
  start   as a phase begins                                 (host)
  teach   what the student shall see and be measured by     (each step)
  observe what the student made of it, before it is judged  (each step)
  losses  of what the student made of it                    (each step)
  follow  once the student is updated                       (each step)
  restore where the step turned out bad                     (each step)
  review  what was taught, beside the truth, for curves     (where it is known)
  illustrate  the lesson in pictures, see `pictures`        (when asked for)

A memory is a pytree of arrays, or None. The variables of a teacher, where
there is one, stand in it under the name `teacher`, {"params", "batch_stats"};
a phase says whether it is the one that counts.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from u2pl_jax.data import supply as supply_lib
from u2pl_jax.methods import pictures
from u2pl_jax.methods import timeline as timeline_lib
from u2pl_jax.runtime import sharding

PyTree = Any
Memory = PyTree  # None for a method that keeps nothing.
Variables = Mapping[str, PyTree]  # {"params", "batch_stats"} of a network.
Metrics = dict[str, jax.Array]
Batch = Mapping[str, jax.Array]
Outputs = Mapping[str, jax.Array]  # Of one forward pass of a network.
# True labels of unlabeled images, int32 [B_u, H, W], 255 where not known:
# `label_u` and, where there is a second image, `label_u2`.
Truth = Mapping[str, jax.Array]

# Each step has one random key for each of these, from seed and step alone.
# "student" is that of the student's forward passes; the others are for `teach`.
STREAMS = ("augment", "student", "teacher", "draw")


@flax.struct.dataclass
class View:
  """What the student sees in one forward pass, in train mode.

  Attributes:
    images: [B, H, W, 3] float32, normalized.
    arguments: further arguments of the network, such as masks of dropout.
  """

  images: jax.Array
  arguments: Mapping[str, PyTree] = flax.struct.field(default_factory=dict)


@flax.struct.dataclass
class Lesson:
  """What `teach` prepared for the student, without any gradient.

  Attributes:
    views: of each forward pass of the student, in order; its statistics go
      from one to the next.
    targets: whatever `losses` needs beside the student's outputs, such as
      labels, masks of valid pixels, negatives.
    batch_stats: the student's statistics, where `teach` made forward passes
      in train mode that count; None for as they were.
  """

  views: tuple[View, ...]
  targets: PyTree
  batch_stats: PyTree = None


@flax.struct.dataclass
class Review:
  """What a step taught of unlabeled images, beside what these really show.

  Attributes:
    taught: for each view that the student is to agree with labels on, the
      labels, [B, H, W] int32, 255 where none is taught; and the truth about
      the same pixels, alike, 255 where it is not known.
    negatives: [B, h, w, K] bool, pixels that new negative keys of each class
      come from, and the truth about them, [B, h, w] int32; None where a method
      has no negatives.
  """

  taught: tuple[tuple[jax.Array, jax.Array], ...]
  negatives: tuple[jax.Array, jax.Array] | None = None


def _nothing(key: jax.Array, student: Variables) -> Memory:
  del key, student
  return None


def _keep(memory: Memory, student: Variables) -> Memory:
  del student
  return memory


def _look_on(
  memory: Memory, outputs: tuple[Outputs, ...], lesson: Lesson
) -> tuple[Lesson, Memory, Metrics]:
  del outputs
  return lesson, memory, {}


def _start_anew(memory: Memory, remembered: Mapping[str, np.ndarray]) -> Memory:
  del remembered
  return memory


def _ask_nothing(memory: Memory) -> dict[str, jax.Array]:
  del memory
  return {}


def _stay(
  memory: Memory, student: Variables, step: jax.Array
) -> tuple[Memory, Metrics]:
  del student, step
  return memory, {}


def choose(old: PyTree, new: PyTree, is_bad: jax.Array) -> PyTree:
  """`old` where a step went wrong, else `new`, array by array."""
  return jax.tree.map(lambda a, b: jnp.where(is_bad, a, b), old, new)


class Method(NamedTuple):
  """The functions of a method; of all but `teach` and `losses` there is one.

  Attributes:
    teach: (memory, student, batch, keys, step) -> lesson, memory, metrics.
      `student` are its variables, `batch` holds uint8 `image_l` and `label_l`
      and what the phase's `supply` says; `keys` has one key for each of
      `STREAMS`; `step` is [] int32, updates made before.
    losses: (outputs, lesson) -> {name: weighted loss, []}; `outputs` are those
      of each view. Their sum is what the student descends.
    init: (key, student) -> memory.
    start: (memory, student) -> memory.
    follow: (memory, student, step) -> memory, metrics. `student` has just been
      updated by the step number `step`.
    restore: (old memory, new memory, is_bad) -> memory; `is_bad` is [] bool.
      The default keeps both until the end of the step, which costs memory.
    lay_out: (memory, mesh) -> how its arrays, given by their shapes, lie on
      the devices.
    taught: (entropy, step) -> bool; which pixels of a prediction, by its
      entropy (numpy [B, H, W], nats), would be taught now. For pictures; None
      where nothing is to be shown.
    observe: (memory, outputs, lesson) -> lesson, memory, metrics. Without
      gradient, between the student's passes and `losses`: for targets that the
      student itself makes in train mode, and for a memory that must move
      before the student is judged.
    requests: (memory) -> {name: int32 [lag + 1, B_u]}; what the batches of the
      next steps shall hold, the next one first, `position_u2` among them. Each
      `follow` drops the first row and adds that of the step `lag` + 1 later,
      so that a batch is asked for while `lag` steps are still to be made.
    adopt: (memory, remembered) -> memory; takes over what a file of weights
      remembers beside networks, arrays by name, see `models.pretrained`.
      Raises ValueError, one line, where it does not fit.
    review: (lesson, truth) -> `Review`; follows the lesson that `losses` gets,
      so that true labels are mixed as the pseudo-labels were. Nothing else of
      a method ever sees the truth. None where no pseudo-labels are taught.
    show: (memory, batch) -> pictures, numpy uint8 [H, W, 3], of what the last
      step made of its batch, of which the arrays are those of this process on
      the host. None where nothing is to be shown.
    illustrate: (batch, lesson) -> groups of pictures of a lesson that the
      student was observed with; see `pictures`.
  """

  teach: Callable[..., tuple[Lesson, Memory, Metrics]]
  losses: Callable[[tuple[Outputs, ...], Lesson], Metrics]
  init: Callable[[jax.Array, Variables], Memory] = _nothing
  start: Callable[[Memory, Variables], Memory] = _keep
  follow: Callable[..., tuple[Memory, Metrics]] = _stay
  restore: Callable[[Memory, Memory, jax.Array], Memory] = choose
  lay_out: Callable[[Memory, jax.sharding.Mesh], Memory] = sharding.split_tree
  taught: Callable[[np.ndarray, int], np.ndarray] | None = None
  observe: Callable[..., tuple[Lesson, Memory, Metrics]] = _look_on
  requests: Callable[[Memory], dict[str, jax.Array]] = _ask_nothing
  adopt: Callable[[Memory, Mapping[str, np.ndarray]], Memory] = _start_anew
  review: Callable[[Lesson, Truth], Review] | None = None
  show: Callable[[Memory, Batch], list[np.ndarray]] | None = None
  illustrate: Callable[[Batch, Lesson], tuple[pictures.Group, ...]] = (
    pictures.show_views
  )


@dataclasses.dataclass(frozen=True)
class Phase:
  """A part of a run in which one program is run.

  Attributes:
    name: for people, and in checkpoints.
    first_step: updates made before it begins.
    method: what it runs.
    supply: what its batches hold beside labeled images. Only the first phase
      can ask for images that depend on the memory.
    network: the one that counts in it, "student" or "teacher".
  """

  name: str
  first_step: int
  method: Method
  supply: supply_lib.Supply = supply_lib.Supply()
  network: str = "student"

  @property
  def uses_unlabeled(self) -> bool:
    """Whether its steps train on unlabeled images."""
    return self.supply.unlabeled


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a method is built from, beside its own options.

  Attributes:
    model: the network of student and teacher.
    supervised_loss: (outputs, labels [B, H, W] int32) -> [] float32, of the
      main prediction and, where there is one, the auxiliary one.
    timeline: the length of the run.
    class_names: of all K classes, in their order.
    num_unlabeled: N_u, length of the unlabeled list.
    batch_size_l, batch_size_u: images of one forward pass, all devices.
    accumulate_steps: parts that a batch is computed in.
  """

  model: nn.Module
  supervised_loss: Callable[[Outputs, jax.Array], jax.Array]
  timeline: timeline_lib.Timeline
  class_names: tuple[str, ...]
  num_unlabeled: int
  batch_size_l: int
  batch_size_u: int
  accumulate_steps: int


@dataclasses.dataclass(frozen=True)
class Published:
  """How the published code of a method was run, for its `reference` recipe.

  Attributes:
    num_gpus: over which its batch was split.
    batch_size_l: labeled images a step, all GPUs.
  """

  num_gpus: int = 4
  batch_size_l: int = 16

  @property
  def images_per_gpu(self) -> int:
    """Labeled images that one GPU had, at least 1."""
    return max(1, self.batch_size_l // self.num_gpus)


def begin(
  phase: Phase, memory: Memory, key: jax.Array, student: Variables
) -> Memory:
  """The memory that a phase begins with.

  Args:
    phase: that begins.
    memory: of the phase before; None if there was none.
    key: PRNG key for what is made anew.
    student: its variables at that moment.
  """
  if memory is None:
    memory = phase.method.init(key, student)
  return phase.method.start(memory, student)


def teacher_of(memory: Memory) -> Variables | None:
  """The variables of the teacher in a memory; None where there is none."""
  return getattr(memory, "teacher", None)
