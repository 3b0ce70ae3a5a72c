"""Which lines are worth reading, and how a pipe becomes lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.supervise.logs import LinePipe, NoiseFilter

DUMP = ["I0000 00:00:17.1   2 eager_service_impl.cc:355] SessionOptions: goo.gle/x", "device_count {", "}", ""]


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23 04:45:33.123456: I tensorflow/core/util/port.cc:113] oneDNN custom operations are on.",
        "2026-11-23 04:45:33.123456: E external/local_xla/cuda.cc:9] Unable to register cuFFT factory",
        "I0000 00:00:1795411669.280460   17980 cudart_stub.cc:31] Could not find cuda drivers",
        "W0000 00:00:1795411686.455438   18400 preemption_notifier.cc:90] SIGTERM caught",
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow",
        "/job:worker/replica:0/task:1",
        "INFO:tensorflow:Assets written to: model",
    ],
)
def test_start_up_messages_of_tensorflow_are_noise(line: str) -> None:
    assert NoiseFilter().is_noise(line)


@pytest.mark.parametrize(
    "line",
    [
        "Epoch: 0050 cost= 0.0769",
        "ERROR:tensorflow:lost",
        "I think so",
        "",
        "loss: 3",
        "F0000 00:00:17.1 2 a.cc:1] Check",
    ],
)
def test_what_a_job_prints_and_fatal_errors_are_no_noise(line: str) -> None:
    assert not NoiseFilter().is_noise(line)


def test_a_dump_of_options_is_noise_up_to_its_empty_line_and_not_beyond() -> None:
    noise = NoiseFilter()
    assert [noise.is_noise(line) for line in [*DUMP, "}", "loss: 3"]] == [True] * 4 + [False] * 2


@pytest.fixture
def pipe(tmp_path: Path) -> LinePipe:
    return LinePipe(tmp_path / "log")


def test_a_line_comes_when_its_end_has_come(pipe: LinePipe) -> None:
    os.write(pipe.write_end, b"a\nb")
    assert pipe.lines() == ["a"]
    assert pipe.lines() == []
    os.write(pipe.write_end, b"c\n")
    assert pipe.lines() == ["bc"]


def test_a_character_split_over_two_writes_is_whole(pipe: LinePipe) -> None:
    first, second = "é\n".encode()[:1], "é\n".encode()[1:]
    os.write(pipe.write_end, first)
    assert pipe.lines() == []
    os.write(pipe.write_end, second)
    assert pipe.lines() == ["é"]


def test_of_a_line_that_was_redrawn_the_last_drawing_is_shown(pipe: LinePipe) -> None:
    os.write(pipe.write_end, b" 1%\r50%\r100%\r\n")
    assert pipe.lines() == ["100%"]


def test_a_line_without_end_is_shown_in_pieces_and_kept_whole(pipe: LinePipe, tmp_path: Path) -> None:
    shown = ""
    for _ in range(4):
        os.write(pipe.write_end, b"x" * 40_000)
        shown += "".join(pipe.lines())
    pipe.started()
    shown += "".join(pipe.close())
    assert shown == "x" * 160_000
    assert (tmp_path / "log").read_bytes() == b"x" * 160_000


def test_closing_reads_what_is_left_even_where_another_process_holds_the_pipe(pipe: LinePipe) -> None:
    os.write(pipe.write_end, b"last\nwords")
    assert pipe.close() == ["last", "words"]
    os.close(pipe.write_end)
