"""U2PL: semi-supervised semantic segmentation in JAX and Flax.

Shape legend, used in every docstring and comment:

  B       images in a batch             K  classes
  H, W    image or crop size, pixels    D  width of a representation
  h, w    size of the stride-4 features Q  capacity of a memory bank
  P       pixels, flattened             A, N  anchors, negatives

Suffixes: `_l` labeled, `_u` unlabeled, `_percent` in [0, 100],
`_threshold` a limit in the unit of what it limits, `_weight` a loss
coefficient. `logits` are raw, `probs` softmaxed, `confidence` is the largest
prob. Entropies are in nats. Label 255 (`ignore_label`) means "no label".
"""

__version__ = "0.2.0"

IGNORE_LABEL = 255
