"""matplotlib as it is in every folder: its own defaults, and none of the settings that lie where one stands.

While it is imported, matplotlib reads a file called `matplotlibrc` in the current folder: before that of the user, and
also where it is a pipe that never ends. Such a file can have LaTeX run, or pictures of any size made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

from energydiag.current_folder import inside


def styled(style: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Matplotlib's defaults with these settings, for a block.

    Args:
        style: By matplotlib's names.
    """
    if "matplotlib" not in sys.modules:
        with inside(Path(__file__).parent):  # which holds no settings
            import matplotlib
    import matplotlib

    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name not in _NOT_OF_PICTURES}
    return matplotlib.rc_context(cast("Any", {**defaults, **style}))


_NOT_OF_PICTURES = frozenset({"backend", "backend_fallback", "toolbar", "interactive", "webagg.port", "webagg.address"})
