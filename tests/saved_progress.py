"""Progress beside the arrays of a checkpoint, as a run saves it."""


def make(step=0, *, network="teacher", data=()):
  return {
    "step": step,
    "network": network,
    "data": dict(data),
    "seconds": 1.0,
    "images_per_second": None,
    "bad_steps": [],
  }
