"""Black-box clients of the wire protocol, and THE checker of its promises. Knows `protocol` and nothing of the server."""
