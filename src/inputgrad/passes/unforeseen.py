"""What ends a plain step that cannot be made plainly. Must not know engines and terms."""


class UnforeseenError(BaseException):
    """A term asks for what no earlier step of this form needed, or the model does what none of its passes did: the step is to be made in full.

    Not an `Exception`: a term of the user's that catches those does not see it.
    """
