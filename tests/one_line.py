"""The one line with which a program ends that was used wrongly."""

import pytest


def error_of(main, *arguments):
  """The line.

  Args:
    main: of the program.
    *arguments: its command line, turned to strings.
  """
  return error_of_call(main, [str(argument) for argument in arguments])


def error_of_call(call, *arguments, **options):
  """The line with which a call of whatever runs a program ends."""
  with pytest.raises(SystemExit) as caught:
    call(*arguments, **options)
  message = caught.value.code
  assert message.startswith("error: ") and "\n" not in message
  return message
