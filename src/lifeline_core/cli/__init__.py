"""The command ``lifeline-core``. People read stderr, programs read stdout.

Exit status: 0 good, 1 the work failed, 2 the command or the configuration is wrong.
"""

from __future__ import annotations

import sys

import typer

from lifeline_core.cli import city, demo, keygen, locate, modes, replay, run
from lifeline_core.cli.lines import complain
from lifeline_core.errors import ConfigError, LifelineError

__all__ = ["app", "main"]

app = typer.Typer(
    name="lifeline-core",
    help="The signal core of a city's lifeline safety platform: raw sensor frames in, graded alarms out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (city, run, keygen, replay, modes, locate, demo):
    module.add_to(app)


def main() -> None:
    """Run the command line; errors the user can mend are one line, not a traceback."""
    try:
        code = app(standalone_mode=False)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ConfigError as error:
        complain("\n".join(error.faults))
        sys.exit(2)
    except (LifelineError, ValueError, OSError) as error:
        complain(str(error))
        sys.exit(1)
    except Exception as error:
        if not hasattr(error, "show"):  # a wrong command line knows how to say so; typer and click each have a class for it
            raise
        error.show()
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
