"""The race: this server and those that teams would else pick, one after the other in the same harness, in one table."""
