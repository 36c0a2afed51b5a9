"""Loss functions: supervised, unsupervised, contrastive."""
