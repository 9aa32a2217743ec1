"""Runs of ``inputgrad train`` from Python. What reads them is imported when one is read."""

from pathlib import Path

from torch import nn

from inputgrad.errors import suggesting


@suggesting
def load(run: str | Path, *, code: bool = True) -> nn.Module:
    """The trained model of a run of ``inputgrad train``, in evaluation mode. Needs the extra ``train``.

    run: the run's directory, such as ``"runs/3-gradient-norm"``, or the ``checkpoint.pt`` in it. A model of your own is built again by the callable that the
    config names, so it must be importable. code: whether that is allowed; for runs of others, say ``code=False``, which does not import what their settings
    name. Raises `ValueError` where there is no run.
    """
    from inputgrad.study.loading import load_model
    from inputgrad.study.problems import StudyError

    try:
        return load_model(run, code=code)
    except StudyError as error:
        raise ValueError(str(error)) from error
