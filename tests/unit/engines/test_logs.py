"""Which lines are worth reading, and how a pipe becomes lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.engines.logs import LinePipe, NoiseFilter

# How the coordinator says that a worker has gone.
LOST_WORKER = [
    "ERROR:tensorflow:Remote function on worker /job:worker/replica:0/task:0 failed with UnavailableError(): closed",
    "Additional GRPC error information from remote target /job:worker/replica:0/task:0:",
    "Traceback (most recent call last):",
    '  File "/usr/lib/python3.11/site-packages/tensorflow/python/eager/execute.py", line 53, in quick_execute',
    "",
    "It is treated as a transient connectivity failure for now.",
]
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
        "Additional GRPC error information from remote target /job:worker/replica:0/task:1 while calling /x/y:",
        ':UNKNOWN:Error received from peer  {grpc_message:"Socket closed", grpc_status:14}',
        "The error could be from a previous operation. Restart your program to reset. [Op:__inference_step_9]",
        "\t [[{{node CollectiveReduceV2}}]]",
        "This could happen if the remote target has been disconnected from the client.",
        "ERROR:tensorflow:Worker /job:worker/replica:0/task:0 has failed.",
        "The tasks have crashed. Check the task logs for an earlier error.",
        "RPC: /tensorflow.CoordinationService/Barrier",
        "WARNING:absl:a thing",
    ],
)
def test_later_lines_of_messages_about_a_peer_that_has_gone_are_noise(line: str) -> None:
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
        # What begins like noise, or has it in the middle.
        "see Additional GRPC error information from remote target",
        "the server said: Error received from peer",
        "The error could be anything",
        "\t [[1, 2], [3, 4]]",
        "ERROR:tensorflow:Workers are few",
        "It is treated as a transient connectivity failure",
        "my SessionOptions: none",
    ],
)
def test_what_a_job_prints_and_fatal_errors_are_no_noise(line: str) -> None:
    assert not NoiseFilter().is_noise(line)


def test_a_dump_of_options_is_noise_up_to_its_empty_line_and_not_beyond() -> None:
    noise = NoiseFilter()
    assert [noise.is_noise(line) for line in [*DUMP, "}", "loss: 3"]] == [True] * 4 + [False] * 2


def test_a_coordinators_words_about_a_lost_worker_are_noise_up_to_the_last_and_not_beyond() -> None:
    noise = NoiseFilter()
    shown = [line for line in ["step 1", *LOST_WORKER, "step 2", "", "step 3"] if not noise.is_noise(line)]
    assert shown == ["step 1", "step 2", "", "step 3"]


def test_a_lost_worker_may_be_told_of_again_and_after_a_prefix_of_its_own() -> None:
    noise = NoiseFilter()
    again = [f"2026-11-23 04:45:33 {LOST_WORKER[0]}", *LOST_WORKER[1:]]
    assert [line for line in [*LOST_WORKER, *again, "step 2"] if not noise.is_noise(line)] == ["step 2"]


def test_empty_lines_after_noise_belong_to_it_and_those_after_a_jobs_line_to_the_job() -> None:
    noise = NoiseFilter()
    lines = ["loss: 3", "", "INFO:tensorflow:saved", "", "", "loss: 2", ""]
    assert [noise.is_noise(line) for line in lines] == [False, False, True, True, True, False, False]


@pytest.mark.parametrize("first", [DUMP[0], LOST_WORKER[0]])
def test_a_dump_that_never_ends_hides_no_more_than_60_lines(first: str) -> None:
    noise = NoiseFilter()
    assert noise.is_noise(first)
    assert [noise.is_noise("loss: 3") for _ in range(61)] == [True] * 60 + [False]


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
