"""The HTTP side of the port: the API for the app's backend and its users, health, metrics, documents and the demo page."""
