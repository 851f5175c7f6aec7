"""What the ports stand on: memory, SQLite, files, the network. Nothing but server/app.py imports from here."""
