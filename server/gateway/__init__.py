"""Where bytes become messages: the listener, the WebSocket connection and what is handed to the HTTP stack."""
