"""From weak to strong views: what FixMatch and UniMatch have in common.

A network labels the weak view of an unlabeled image, and the student must
agree on strong views of it, wherever that label was confident.

  settings      the threshold, and groups of images that losses are means of
  views         how strong views and CutMix boxes are drawn
  targets       labels with confidence, how they mix, and the losses
  illustration  what a lesson looks like
  student       the student labels the weak view itself (version 1)
  teacher       its moving average does (version 2)
"""
