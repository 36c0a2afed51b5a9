"""The one line with which a program ends that was used wrongly."""

import pytest


def error_of(main, *arguments):
  """The line.

  Args:
    main: of the program.
    *arguments: its command line, turned to strings.
  """
  with pytest.raises(SystemExit) as caught:
    main([str(argument) for argument in arguments])
  message = caught.value.code
  assert message.startswith("error: ") and "\n" not in message
  return message
