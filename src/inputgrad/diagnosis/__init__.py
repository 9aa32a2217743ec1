"""Which engine works for a model, how exactly and at what cost, measured on one batch before training."""
