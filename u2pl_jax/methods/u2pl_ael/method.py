"""U2PL with AEL: classes that the student is unsure of are seen more often.

Begin with `teach`, then `judge`: copy-paste among labeled images, CutMix of
unlabeled ones around a component of a drawn class, and a consistency that
leaves out pixels of classes that the student is sure of; with U2PL's partition
and contrastive loss.

Reference: AEL section 3; algorithm section 5.
"""

import dataclasses
import functools

import jax
import numpy as np

from u2pl_jax.data import supply
from u2pl_jax.methods import method, suponly
from u2pl_jax.methods import teacher as teacher_lib
from u2pl_jax.methods.u2pl import contrast
from u2pl_jax.methods.u2pl import memory as u2pl_memory
from u2pl_jax.methods.u2pl_ael import (
  boxes,
  checks,
  illustration,
  judge,
  settings,
  setup,
  teach,
)
from u2pl_jax.methods.u2pl_ael import memory as memory_lib

NAMES = ("u2pl_ael",)
TITLE = "U2PL with AEL"
USES_REPRESENTATION = True
OPTIONS = (
  settings.SemiOptions,
  contrast.ContrastOptions,
  settings.AelOptions,
)
recipes = settings.recipes


def create(
  parts: method.Parts,
  semi: settings.SemiOptions,
  contrast_options: contrast.ContrastOptions,
  ael: settings.AelOptions,
  **tools,
) -> tuple[method.Phase, ...]:
  """Epochs without and with the contrastive loss.

  Where the config asks for it, supervised epochs come before them. The epochs
  without the contrastive loss have a program and a memory without it.

  Args:
    parts: of the run.
    semi, contrast_options, ael: settings.
    **tools: `chance` and `halves` of `setup.Setup`.

  Raises:
    ValueError: settings do not go together; one line that names a key.
  """
  checks.check_run(parts, ael)
  given = setup.Setup(parts, semi, contrast_options, ael, **tools)
  first, timeline = given.first_step, parts.timeline
  without = dataclasses.replace(
    given, contrast=dataclasses.replace(contrast_options, weight=0.0)
  )
  phases = [_phase("semi", first, without)]
  if contrast_options.weight:
    contrast_options.check_run(parts, stacked=("batch_size_l",))
    start = max(first, ael.contrast_step(timeline))
    if start == first:
      phases = []
    phases.append(_phase("contrast", start, given))
  if first > 0:
    phases.insert(0, _supervised_phase(given, phases[0].method))
  return tuple(p for p in phases if p.first_step < timeline.total_steps)


def _supervised_phase(given: setup.Setup, ael: method.Method) -> method.Phase:
  """Labeled images alone; second images are asked for before they end."""
  supervised = u2pl_memory.accompany(
    suponly.make_method(given.parts),
    parts=given.parts,
    semi=given.semi,
    of=ael,
  )

  def follow(memory, student, step):
    del student
    return memory_lib.advance(memory, step), {}

  supervised = supervised._replace(
    follow=follow,
    requests=ael.requests,
    adopt=ael.adopt,
    taught=ael.taught,
  )
  return method.Phase("supervised", 0, supervised)


def _phase(name: str, first_step: int, given: setup.Setup) -> method.Phase:
  """A phase with a teacher."""
  ael = _Ael(given, is_later=first_step > given.first_step)
  return method.Phase(
    name, first_step, ael.as_method(), ael.supply, network="teacher"
  )


@dataclasses.dataclass(frozen=True)
class _Ael:
  """The functions of the method, over its settings.

  Attributes:
    given: settings.
    is_later: whether a phase with a teacher comes before.
  """

  given: setup.Setup
  is_later: bool

  @property
  def supply(self) -> supply.Supply:
    """What the batches hold."""
    ael, partner = self.given.ael, None
    if ael.copy_paste_probability:
      partner = supply.Partner(ael.copy_paste_probability, ael.copy_paste_scale)
    return supply.Supply(
      unlabeled=True,
      positions=True,
      second="requested",
      requests=("class_u2",),
      lag=ael.draw_lag,
      partner=partner,
    )

  def as_method(self) -> method.Method:
    given = self.given
    return method.Method(
      teach=functools.partial(teach.teach, given=given),
      observe=functools.partial(judge.observe, given=given),
      losses=functools.partial(judge.compute_losses, given=given),
      review=functools.partial(judge.compare, given=given),
      init=self.init,
      start=self.start,
      follow=self.follow,
      restore=memory_lib.restore,
      lay_out=memory_lib.lay_out,
      requests=lambda memory: memory.queue,
      adopt=memory_lib.adopt,
      show=self.show,
      illustrate=functools.partial(illustration.illustrate, given=given),
      taught=self.taught,
    )

  def init(
    self, key: jax.Array, student: method.Variables
  ) -> memory_lib.Memory:
    given = self.given
    key_teacher, key_rest = jax.random.split(key)
    of_u2pl = u2pl_memory.make(
      key_teacher,
      student,
      parts=given.parts,
      semi=given.semi,
      contrast_options=given.contrast,
    )
    return memory_lib.make(
      key_rest, of_u2pl, parts=given.parts, lag=given.ael.draw_lag
    )

  def start(
    self, memory: memory_lib.Memory, student: method.Variables
  ) -> memory_lib.Memory:
    """A teacher from supervised epochs becomes the student.

    One without any keeps its initial values. One that has been teaching goes
    on, and gets the bank of the contrastive loss.
    """
    given = self.given
    if self.is_later:
      bank = u2pl_memory.make_bank(given.parts, given.contrast)
      return memory.replace(bank=bank)
    if given.first_step:
      return u2pl_memory.start(memory, student, semi=given.semi)
    return memory

  def follow(
    self, memory: memory_lib.Memory, student: method.Variables, step: jax.Array
  ) -> tuple[memory_lib.Memory, method.Metrics]:
    """The teacher follows the student; second images are drawn in advance."""
    semi = self.given.semi
    nth = step - self.given.first_step + 1
    decay = teacher_lib.ema_decay(nth, semi.ema_decay)
    memory, metrics = u2pl_memory.follow(memory, student, decay, semi=semi)
    return memory_lib.advance(memory, step), metrics

  def show(
    self, memory: memory_lib.Memory, batch: method.Batch
  ) -> list[np.ndarray]:
    """Mixed images, uint8 [H, W, 3], each with the frame of its box.

    Of a batch that is computed in parts, those of the last part.
    """
    parts = self.given.parts.accumulate_steps
    shown = (
      batch[name][parts - 1 :: parts] for name in ("image_u", "image_u2")
    )
    return [
      boxes.draw(*images)
      for images in zip(*shown, np.asarray(memory.boxes), strict=False)
    ]

  def taught(self, entropy: np.ndarray, step: int) -> np.ndarray:
    """[B, H, W] bool, pixels that would keep their pseudo-label."""
    percent = float(self.given.percent(step))
    dropped = self.given.ael.dropped
    if dropped == "sure":
      return entropy >= np.percentile(entropy, percent)
    if dropped == "unsure":
      return entropy <= np.percentile(entropy, 100 - percent)
    return np.ones(entropy.shape, bool)
