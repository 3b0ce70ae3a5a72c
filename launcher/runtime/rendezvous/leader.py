"""The leader's side of the rendezvous: what ``Leading`` decides, carried out by one thread for all connections."""

from __future__ import annotations

import dataclasses
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from launcher.contract.context import TaskContext
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.checkpoint.saved import Offer, Saved
from launcher.runtime.failure import is_consequence, peer_failure
from launcher.runtime.rendezvous.ending import GOODBYE
from launcher.runtime.rendezvous.events import (
    Action,
    Announce,
    Close,
    Done,
    Event,
    Extended,
    Failed,
    FindHosts,
    Finished,
    Formed,
    HangUp,
    HostsFound,
    Leave,
    NoteLoss,
    Send,
    SendFiles,
    TaskAction,
    Tick,
    Verified,
    Verifying,
    Watching,
    Welcome,
)
from launcher.runtime.rendezvous.hub import Hub, hub_at
from launcher.runtime.rendezvous.leading import Leading
from launcher.runtime.rendezvous.messages import PROGRESS
from launcher.runtime.rendezvous.waiting import Extend, Tell, Wait, find_hosts, start_thread

_LOOK_EVERY = 1.0  # seconds that the connections' thread sleeps at most
_CLOSE_TIMEOUT = 5.0  # seconds that this thread gets to end


class Leader:
    """The task that the others meet at. A context manager: it waits until all have met.

    An error in its block is sent to all.
    """

    def __init__(self, context: TaskContext, deadline: float, tell: Tell, extended: Extend = lambda _: None) -> None:
        self.step, self.left_out = 0, context.left_out
        self._context, self._deadline, self._wait = context, deadline, Wait(deadline, tell, extended)
        self._tell = tell
        self._thread: _Thread | None = None

    def __enter__(self) -> Self:
        try:
            self._meet()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread is None:
            return
        # A connection that closes tells the others that this task is gone. While nobody knows which task was lost, this
        # one writes down TensorFlow's error first: its connections stay open until its process ends.
        keeps_open = False
        try:
            if isinstance(error, Exception):
                self._tell_why(self._thread, error)
                keeps_open = is_consequence(error) and self._thread.loss(0) is None
        finally:
            if not keeps_open:
                self._thread.close()

    def watch(self, leave: Callable[[LauncherError], None]) -> None:
        """From now on call ``leave``, from another thread, as soon as a task is lost that this one needs."""
        self._met.leave = leave
        self._met.post(Watching())

    def finish(self, *, stopped: bool = False) -> None:
        """Wait for the tasks that train to finish, send all away, and leave last."""
        self._met.post(Finished(stopped))
        self._met.wait_until_done()

    def wait_for_end(self) -> bool:
        """Never called: a leader trains or coordinates, it does not serve."""
        raise NotImplementedError

    @property
    def _met(self) -> _Thread:
        assert self._thread, "the leader is used before its block"
        return self._thread

    def _meet(self) -> None:
        leading = Leading(self._context, self._deadline, time.monotonic())
        thread = _Thread(hub_at(self._context.rendezvous), leading)
        thread.start()
        self._thread = thread
        thread.offer(self._verified(thread))
        while not isinstance(action := thread.next_action(), Formed):
            match action:
                case Announce():
                    self._tell(action.missing)
                case Extended():
                    self._wait.extend(action.seconds)
                case FindHosts():
                    context = dataclasses.replace(self._context, left_out=action.left_out)
                    find_hosts(context, self._wait)
                    thread.post(HostsFound())
                case Leave():
                    raise action.error
        self.left_out = action.left_out

    def _verified(self, thread: _Thread) -> Saved | None:
        """Return the checkpoint that all resume from, once it was read; members come meanwhile."""

        def watch(progress: str) -> None:
            thread.post(Verifying(progress))
            self._wait.extend(PROGRESS)
            self._wait.check([f"{self._context.task} ({progress})"])

        checkpoints = CheckpointFiles(RunFiles(Path(self._context.run_directory)).checkpoints)
        saved = checkpoints.newest_sound(partial(print, flush=True), watch)
        self.step = saved.step if saved else 0
        return saved

    def _tell_why(self, thread: _Thread, error: Exception) -> None:
        """Tell the others why this task ends; raise the loss of another task if that is why."""
        if is_consequence(error):
            # TensorFlow's error about a lost peer does not name it; its connection will, very soon.
            loss = thread.loss(GOODBYE)
            if loss and error is not loss:
                raise loss from error
        else:
            thread.post(Failed(peer_failure(self._context.task, error)))
            thread.wait_until_done()


class _Thread:
    """The thread that handles events and carries out what follows, apart from what is for the task's own thread."""

    def __init__(self, hub: Hub, leading: Leading) -> None:
        self.leave: Callable[[LauncherError], None] | None = None
        self._hub, self._leading = hub, leading
        self._sizes: Mapping[Path, int] = {}  # of the files that members may need, in bytes
        self._posted: SimpleQueue[Event] = SimpleQueue()
        self._for_task: SimpleQueue[TaskAction] = SimpleQueue()
        self._loss: LauncherError | None = None
        self._is_lost, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="rendezvous", daemon=True)

    def start(self) -> None:
        """Begin; LauncherError if this machine lets no thread start."""
        try:
            start_thread(self._thread)
        except LauncherError:
            self._hub.close()
            raise

    def offer(self, saved: Saved | None) -> None:
        """Let all resume from this checkpoint, or from the beginning."""
        offer = saved.offer() if saved else Offer(0)
        if saved:
            self._sizes = {saved.directory / name: size for name, (size, _) in offer.files.items()}
        self.post(Verified(offer))

    def post(self, event: Event) -> None:
        """Let an event of this task's own be handled."""
        self._posted.put(event)
        self._hub.wake()

    def next_action(self) -> TaskAction:
        """Wait for what the task has to do next; bounded by the deadlines of ``Leading``."""
        return self._for_task.get()

    def wait_until_done(self) -> None:
        """Wait until this task may leave."""
        while not isinstance(self.next_action(), Done):
            pass  # it leaves already, for a reason of its own

    def loss(self, seconds: float) -> LauncherError | None:
        """Return why this attempt fails, if that becomes known in time."""
        self._is_lost.wait(seconds)
        return self._loss

    def close(self) -> None:
        """Close all connections and end."""
        self._closing.set()
        self._hub.wake()
        self._thread.join(_CLOSE_TIMEOUT)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._turn()
        except LauncherError as error:
            self._leave(error)
        except Exception as error:  # noqa: BLE001  # the task would wait for this thread forever
            traceback.print_exc()
            self._leave(LauncherError(f"the rendezvous broke: {type(error).__name__}: {error}"))
        finally:
            self._hub.close()

    def _leave(self, error: LauncherError) -> None:
        self._carry_out(Leave(error))
        self._carry_out(Done())

    def _turn(self) -> None:
        # Whoever holds Python's lock for long may keep this thread from what has arrived: only what is silent at a time
        # that was read before the sockets were is silent.
        asked = time.monotonic()
        for event in self._hub.poll(max(0.0, min(self._leading.wake_at - asked, _LOOK_EVERY))):
            self._handle(event, time.monotonic())
        while not self._posted.empty():
            self._handle(self._posted.get(), time.monotonic())
        if self._leading.wake_at <= asked:
            self._handle(Tick(), asked)

    def _handle(self, event: Event, now: float) -> None:
        for action in self._leading.handle(event, now):
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Welcome():
                self._hub.welcome(action.connection)
            case Send():
                self._hub.send(action.connection, action.message, confirm=action.confirm)
            case SendFiles():
                self._hub.send_files(action.connection, self._sizes)
            case HangUp():
                self._hub.hang_up(action.connection)
            case Close():
                self._hub.drop(action.connection)
            case NoteLoss():
                self._loss = action.loss
                self._is_lost.set()
            case Leave() if self.leave:
                self.leave(action.error)
            case _:
                self._for_task.put(action)
