"""The batches of a run, and the ids of their images."""

import jax

from u2pl_jax import experiment
from u2pl_jax.data import eval_pipeline, input_pipeline, streams


def ids_at_step(exp: experiment.Experiment, index: int) -> dict[str, list[str]]:
  """The ids of the images of an update's batch, see `streams.ids_at_step`.

  Unlabeled ones are among them wherever any phase trains on some.
  """
  return streams.ids_at_step(
    exp.dataset,
    exp.split,
    index,
    batch_size_l=exp.data.batch_size_l,
    # Of the stream, which holds what any phase needs.
    batch_size_u=exp.data.batch_size_u * exp.uses_unlabeled,
    seed=exp.run.seed,
    pairing=exp.data.pairing,
  )


def train_batches(
  exp: experiment.Experiment, start_step: int
) -> input_pipeline.TrainBatches:
  """This process's part of every batch from `start_step` on."""
  return input_pipeline.make_train_iterator(
    exp.dataset,
    exp.split,
    exp.data,
    supply=exp.programs.supply,
    seed=exp.run.seed,
    start_step=start_step,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def eval_batches(exp: experiment.Experiment) -> eval_pipeline.EvalBatches:
  """This process's part of the validation set, re-iterable."""
  evaluation = exp.eval
  return eval_pipeline.make_eval_batches(
    exp.dataset,
    batch_size=evaluation.batch_size,
    crop_size=exp.protocol.crop_size,
    max_shapes=evaluation.max_shapes,
    may_pad=not evaluation.base_size,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    num_workers=exp.data.num_workers or None,
  )
