"""A thread for the calls of Ray that may not return, so that signals interrupt the thread that waits for them."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from fedprompt.benchmark.scheduling import signals


class RayThread:
    """Calls functions in one thread, which lasts as long as this process.

    Python handles signals in the main thread, and only while that executes Python. Linux ends the servers that Ray has
    started together with the thread that has started them.
    """

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]] = queue.SimpleQueue()
        self.is_busy = False
        threading.Thread(target=self._serve, daemon=True).start()

    def call(self, function: Callable[[], object]) -> None:
        """Calls a function and waits for it. A signal interrupts the wait, not the function."""
        done: Future[object] = Future()
        self.is_busy = True
        self.calls.put((function, done))
        try:
            done.result()
        finally:
            signals.renew_handlers()  # versions of Ray replace them by one that aborts the process

    def shut_down(self) -> None:
        """Disconnects from Ray, unless a call was interrupted and has not returned."""
        import ray

        if not self.is_busy:
            self.call(ray.shutdown)

    def _serve(self) -> None:
        while True:
            function, done = self.calls.get()
            try:
                result = function()
            except BaseException as error:  # whatever it is, the caller's thread raises it
                self.is_busy = False
                done.set_exception(error)
            else:
                self.is_busy = False
                done.set_result(result)
