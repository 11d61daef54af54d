"""What the log of a run tells of its losses, speed and time."""

from __future__ import annotations

import pytest

from kaitoc.compiler.engines.report import numbers_of, report_of

LOG = """loading weights
 10%|#         | 1/10 [00:01<00:09]\r{'loss': 2.5, 'grad_norm': 0.4, 'learning_rate': 1e-4, 'epoch': 0.5}
{'loss': '1.25', 'grad_norm': '0.3', 'learning_rate': '5e-05', 'epoch': '1.0'}
{'eval_loss': 1.5, 'eval_runtime': 2.0, 'epoch': 1.0}
{'train_runtime': 90.0, 'train_samples_per_second': 2.5, 'train_loss': 1.9, 'epoch': 1.0}
done
"""


def test_the_log_of_a_run_tells_its_losses_speed_and_time() -> None:
    found = report_of("tune", LOG.splitlines(keepends=False))

    assert (found.num_logged_steps, found.first_loss, found.last_loss) == (2, 2.5, 1.25)
    assert (found.eval_loss, found.epochs, found.seconds, found.samples_per_second) == (1.5, 1.0, 90.0, 2.5)


@pytest.mark.parametrize(
    "line",
    [
        "plain words",
        "{'loss': nan}",
        "{'loss': __import__('os')}",
        "{'loss'",
        "{'a': " * 900,
        "{'loss': '1e999'}",
        "{}",
    ],
)
def test_lines_that_are_no_numbers_tell_nothing(line: str) -> None:
    assert numbers_of(line) == {}
