from __future__ import annotations

import pytest
import tensorflow as tf

from jobs import hello

HERE = "/job:localhost/replica:0/task:0/device:CPU:0"


def test_a_right_answer_of_the_right_device_passes() -> None:
    hello._check("2 + 3", tf.constant(5.0), 5.0, HERE)


def test_a_wrong_answer_fails_with_the_question_and_both_numbers() -> None:
    with pytest.raises(ArithmeticError, match=r"2 \+ 3 is 5, but .*CPU:0 computed 6"):
        hello._check("2 + 3", tf.constant(6.0), 5.0, HERE)


@pytest.mark.parametrize("asked", ["/device:CPU:1", "/device:GPU:0", "/job:worker/replica:0/task:1/device:CPU:0"])
def test_the_right_answer_of_a_wrong_device_fails_with_both_devices(asked: str) -> None:
    with pytest.raises(RuntimeError, match=f"was to be computed on {asked}, but .*CPU:0 computed it"):
        hello._check("2 + 3", tf.constant(5.0), 5.0, asked)
