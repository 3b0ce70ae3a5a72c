"""A launcher with a task in a private network: says which network it is, the process of the task, and what it hears."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from launcher.contract.task import Task
from launcher.engines.local.process import Processes
from tests.support.processes import network_of

with Processes("private") as processes:
    print(json.dumps(asdict(network_of(processes))), flush=True)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    processes.start(Task.parse("worker:0"), sleep, {}, os.open(os.devnull, os.O_WRONLY))
    while True:
        for message in processes.receive():
            print(message.get("pid") or json.dumps(message), flush=True)
