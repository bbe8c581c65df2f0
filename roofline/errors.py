"""The errors a caller may want to catch; each message names the thing, the rule and the fix."""


class RooflineError(Exception):
    """Report a user's mistake in one line; the command line prints it and exits with code 2."""


class UnknownNameError(RooflineError):
    """Name a model, device, mode or precision that does not exist, and suggest what might have been meant."""


class ProfileError(RooflineError):
    """Point at the file, line and key of a hardware profile that breaks a rule."""


class UnsupportedError(RooflineError):
    """Say that a device, engine or precision cannot do what was asked."""


class ModelError(RooflineError):
    """Say why a model could not be built, run on meta tensors, or read back."""
