"""The errors a user can meet. Each says what is wrong, where, which two values disagree, and how to mend it.

The core raises them; only the command line turns them into text and exit codes.
"""

import re

# Line breaks, escapes and other controls, and the marks that turn the direction of writing.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class MegActorError(Exception):
    """Work that failed for a known reason.

    `message` says what and where (with the two values that disagree), `fix` what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        self.message = printable(message)
        self.fix = printable(fix)
        super().__init__(f"{self.message} {self.fix}".strip())


class UsageError(MegActorError):
    """Wrong usage, configuration or input: nothing was started, nothing was written."""

    exit_code = 2


class ConfigError(UsageError):
    """A recipe, `--set` or option that does not describe a valid configuration."""


class MediaError(UsageError):
    """An image, video or sound file that cannot be used."""


class FaceError(UsageError):
    """A picture or clip without the face that the work needs."""


class WeightsError(UsageError):
    """Weights or a checkpoint that are missing, damaged or of another shape than asked for."""


class MetricError(UsageError):
    """Pictures, sound or features of which a metric cannot be taken."""


class OutputError(UsageError):
    """An output path that cannot be written, or that would destroy something."""


class CredentialError(UsageError):
    """A signing key or certificate that cannot be used."""


class OutOfMemory(MegActorError):
    """Work that does not fit into memory, however little is done at once."""


class Interrupted(MegActorError):
    """Work stopped by Ctrl-C or a signal; what is needed to resume was kept."""

    exit_code = 130


class Terminated(Interrupted):
    """Work stopped by SIGTERM, as schedulers send it; what is needed to resume was kept."""

    exit_code = 143


def printable(text: str) -> str:
    """`text` in one line that cannot steer a terminal: names of files and values may hold anything."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
