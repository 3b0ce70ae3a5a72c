"""TensorFlow's server for ps and asynchronous workers; the user's code never runs here."""

from __future__ import annotations

import os

import tensorflow as tf

from launcher.contract.context import TaskContext


def start_server(context: TaskContext) -> tf.distribute.Server:
    """Start serving on this task's address; the server runs until the process ends, ``join`` never returns."""
    return tf.distribute.Server(
        tf.train.ClusterSpec(context.tensorflow_cluster),
        job_name=context.task.job,
        task_index=context.tensorflow_index,
        protocol="grpc",
        config=server_config(context),
    )


def server_config(context: TaskContext) -> tf.compat.v1.ConfigProto:
    """Return the threads and the parts of each GPU that the server works with."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0")),
        inter_op_parallelism_threads=int(os.environ.get("TF_NUM_INTEROP_THREADS", "0")),
    )
    # Idle threads that spin take the cores from the other servers of a host: an eighth of the speed with four tasks on
    # two cores.
    config.experimental.disable_thread_spinning = True
    if context.gpu_memory is not None:
        parts = [context.gpu_memory] * (context.virtual_devices or 1)
        for _ in context.gpus:
            config.gpu_options.experimental.virtual_devices.add(memory_limit_mb=parts)
    return config
