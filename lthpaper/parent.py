"""End a process with the one that began it by multiprocessing, however that ends."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this process at once when its parent has ended; nothing happens in one that has no such parent."""
    if parent := multiprocessing.parent_process():

        def wait() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=wait, daemon=True).start()
