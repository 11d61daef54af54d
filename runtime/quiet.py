"""Keeps the libraries' own chatter out of the log; what a user must know, the runtime says itself."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from transformers.utils import logging as transformers_logging

_LOGGERS = ("bitsandbytes", "trl", "accelerate", "peft", "datasets", "torchao")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide progress bars, deprecations and hints of the libraries; errors still show."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    verbosity = transformers_logging.get_verbosity()
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
