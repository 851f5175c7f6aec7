"""Settings: one frozen value, parsed at the door from environment variables; everything else takes what it needs of it.

Guarantees: every name has a type, a unit, bounds, a default and a line of help (`docs/operations.md` shows the same
table); anything wrong stops the start with one line that names every problem at once and never a secret.
"""

from server.settings.development import for_development
from server.settings.fields import Settings
from server.settings.parse import from_environment, misspelt
from server.settings.values import Secret, SettingsError

__all__ = ["Secret", "Settings", "SettingsError", "for_development", "from_environment", "misspelt"]
