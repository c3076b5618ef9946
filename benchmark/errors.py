"""What a user can get wrong about a run, a sweep or its directory; and how a sweep is told to end."""


class ConfigError(ValueError):
    """A setting, file or directory is wrong; the message names the value, the limit and the remedy."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM), as a batch system does before it ends it by force."""
