"""The one error that every room raises when its caller can put things right."""


class UserError(ValueError):
    """Bad input, told in the caller's terms: what was given, what was expected, what to do."""
