"""`python -m server` with one addition: SIGUSR2 makes it collect garbage, so that memory can be told from litter."""

import gc
import runpy
import signal

signal.signal(signal.SIGUSR2, lambda *_: print("collected", gc.collect(), flush=True))
runpy.run_module("server", run_name="__main__", alter_sys=True)
