"""The wire protocol `duologue.v1`: message types, codec, errors, close codes, limits and ids. Pure; imported by every other room."""
