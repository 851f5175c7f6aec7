"""What the server costs, beside a bare `websockets.serve` relay and a C epoll loop: `python -m tests.benchmarks`."""
