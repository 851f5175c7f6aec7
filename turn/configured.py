"""ICE servers from the settings: STUN alone, a relay with one password for all, or with a credential per user that ends."""

from protocol.ids import Micros, UserId
from turn.configuration import RelayConfiguration
from turn.credentials import US_PER_S, Credential, ephemeral, subject_of
from turn.servers import IceList, ice_servers


class ConfiguredSource:
    """Answers at once and is never degraded: it knows nothing of whether the relay lives."""

    __slots__ = ("_configuration", "_reflectors", "_relays")

    def __init__(self, configuration: RelayConfiguration) -> None:
        """Take a configuration that has no problems."""
        self._configuration = configuration
        self._reflectors = configuration.reflectors
        self._relays = configuration.relays

    @property
    def has_relay(self) -> bool:
        """Whether a TURN server is configured."""
        return bool(self._relays)

    async def servers(self, user: UserId, now: Micros) -> IceList:
        """Return the servers; the first secret signs, so that a new one is put first when every relay knows it."""
        expires_at = Micros((now // US_PER_S + self._configuration.ttl_s) * US_PER_S)
        credential = self._credential(user, expires_at)
        return IceList(
            ice_servers(self._reflectors, self._relays, credential.username, credential.password), expires_at
        )

    def _credential(self, user: UserId, expires_at: Micros) -> Credential:
        if not self._configuration.secrets:
            return Credential(self._configuration.username, self._configuration.password)
        secret = self._configuration.secrets[0]
        return ephemeral(secret, subject_of(secret, user), expires_at)
