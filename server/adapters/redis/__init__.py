"""Bus, directory, sessions, tickets and limits on Redis; what has to happen at once there is Lua."""
