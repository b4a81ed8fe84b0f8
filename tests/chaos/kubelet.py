"""A stand-in for the kubelet: restarts the operator whenever it ends."""

from __future__ import annotations

import threading

from tests.support.operator_process import OperatorProcess

LOOK_EVERY = 0.1  # seconds


class Kubelet:
    """Keeps an operator running until `stop`."""

    def __init__(self, operator: OperatorProcess) -> None:
        self.operator = operator
        self.restarts = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        operator.start()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            with self._lock:
                if self.operator.pid and self.operator.exit_code is None:
                    continue
                self.operator.spawn()
                self.restarts += 1

    def kill(self) -> None:
        """Kill the operator; it is restarted."""
        with self._lock:
            self.operator.kill()

    def stop(self) -> None:
        """Stop the operator for good."""
        self._stop.set()
        self._thread.join()
        self.operator.kill()
