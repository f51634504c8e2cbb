"""Redis key names and Lua scripts: whatever two processes would break on if they disagreed. No client lives here."""
