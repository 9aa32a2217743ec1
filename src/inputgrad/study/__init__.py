"""The training command: data, models, training, measures. Needs the extra ``inputgrad[train]``."""
