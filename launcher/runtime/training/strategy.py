"""The right ``tf.distribute`` strategy for a task, and its devices, before any other TensorFlow operation."""

from __future__ import annotations

import math

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf.coordination_config_pb2 import CoordinatedJob
from tensorflow.python.eager import context as eager

from launcher.contract.context import TaskContext


def build_strategy(context: TaskContext) -> tf.distribute.Strategy:
    """Configure this task's devices and return the strategy that the plan names."""
    _configure_devices(context)
    builders = {
        "OneDeviceStrategy": lambda: tf.distribute.OneDeviceStrategy(_local_devices()[0]),
        "MirroredStrategy": lambda: tf.distribute.MirroredStrategy(_local_devices()),
        "MultiWorkerMirroredStrategy": lambda: _multi_worker_mirrored(context),
        "ParameterServerStrategy": _parameter_server,
    }
    return builders[context.strategy]()


def _configure_devices(context: TaskContext) -> None:
    """Split or limit this task's devices as the plan says; CUDA_VISIBLE_DEVICES has already chosen among them."""
    gpus = tf.config.list_physical_devices("GPU")
    logical = tf.config.LogicalDeviceConfiguration
    if gpus and context.gpu_memory is not None:
        for gpu in gpus:
            parts = [logical(memory_limit=context.gpu_memory)] * (context.virtual_devices or 1)
            tf.config.set_logical_device_configuration(gpu, parts)
    elif context.virtual_devices is not None:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [logical()] * context.virtual_devices)


def _local_devices() -> list[str]:
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return [device.name for device in tf.config.list_logical_devices(kind)]


def _multi_worker_mirrored(context: TaskContext) -> tf.distribute.Strategy:
    _bound_registration(context)
    implementation = getattr(tf.distribute.experimental.CommunicationImplementation, context.communication)
    return tf.distribute.MultiWorkerMirroredStrategy(
        cluster_resolver=tf.distribute.cluster_resolver.TFConfigClusterResolver(),
        communication_options=tf.distribute.experimental.CommunicationOptions(implementation=implementation),
    )


def _bound_registration(context: TaskContext) -> None:
    jobs = [CoordinatedJob(name=job, num_tasks=len(tasks)) for job, tasks in context.tensorflow_cluster.items()]
    # TensorFlow waits 60 minutes for a peer that died between the rendezvous and here, and has no public setting for
    # it; the strategy respects what is configured before (distribute/collective_all_reduce_strategy.py:551).
    eager.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{context.leader.job}/replica:0/task:{context.leader.index}",
        cluster_register_timeout_in_ms=math.ceil(context.start_timeout * 1000),
        heartbeat_timeout_in_ms=10_000,
        shutdown_barrier_timeout_in_ms=30_000,
        coordinated_jobs=jobs,
    )


def _parameter_server() -> tf.distribute.Strategy:
    return tf.distribute.ParameterServerStrategy(tf.distribute.cluster_resolver.TFConfigClusterResolver())
