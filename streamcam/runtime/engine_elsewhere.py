"""Ask the machine that runs the engine for the settings that both sides must agree on."""

from streamcam.errors import ConfigError
from streamcam.runtime.cluster.engine_request import with_request
from streamcam.runtime.cluster.pool_client import check_cluster
from streamcam.runtime.remote.engine_connection import check_package, fetch_settings
from streamcam.runtime.remote.shared_settings import with_shared_settings
from streamcam.settings.config import Config
from streamcam.settings.environment import engine_token


def with_engine_elsewhere(config: Config) -> Config:
    """Return `config` with the model, size and live values of the engine that it names.

    Raises:
        ConfigError: there is no token, or a setting contradicts one of that machine.
        EngineError: that machine does not answer, or refuses.
    """
    if config.broadcast.cluster:
        check_cluster(config.broadcast.cluster)
        return with_request(config)
    engine, token = config.broadcast.engine, config.broadcast.token or engine_token()
    assert engine
    if not token:
        raise ConfigError(
            f"the engine at {engine} asks for a token: give --token, or set STREAMCAM_ENGINE_TOKEN,"
            ' to the one that "streamcam serve" shows there'
        )
    check_package()
    shared = fetch_settings(engine, token)
    broadcast = config.broadcast.model_copy(update={"token": token})
    return with_shared_settings(config.model_copy(update={"broadcast": broadcast}), shared, engine)
